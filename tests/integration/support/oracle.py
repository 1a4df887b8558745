# SPDX-License-Identifier: Apache-2.0
"""Tools that were not written for this project, asked what is right: umoci, podman and skopeo."""

import os
import pathlib
import subprocess


def _run(*command, cwd=None):
    done = subprocess.run([os.fspath(c) for c in command], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


def umoci_unpack(layout, name, bundle):
    """Unpack `name` of an OCI layout directory with `umoci unpack`; returns the rootfs directory."""
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    _run("umoci", "unpack", *rootless, "--image", f"{layout}:{name}", bundle)
    return pathlib.Path(bundle) / "rootfs"


def umoci_raw_unpack(layout, name, rootfs):
    """The same with `umoci raw unpack`: only the tree."""
    rootless = [] if os.geteuid() == 0 else ["--rootless"]
    _run("umoci", "raw", "unpack", *rootless, "--image", f"{layout}:{name}", rootfs)
    return pathlib.Path(rootfs)


def podman_mount(layout, name, place):
    """The tree that podman makes of `name` of an OCI layout directory, in a storage of its own below `place`."""
    podman = ["podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--tmpdir", f"{place}/tmp",
              "--events-backend", "none", "--storage-driver", "vfs"]
    # A relative name: podman makes a reference of it, and not every path is one.
    image = _run(*podman, "pull", "-q", f"oci:{layout.name}:{name}", cwd=layout.parent).strip().splitlines()[-1]
    return pathlib.Path(_run(*podman, "image", "mount", image).strip().splitlines()[-1])


def skopeo_copy(source, destination, *options):
    """skopeo copy between two transport names; TLS is off for both."""
    return _run("skopeo", "--insecure-policy", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false",
                *options, source, destination)


def skopeo_inspect(source, *options):
    return _run("skopeo", "--insecure-policy", "inspect", "--tls-verify=false", *options, source)


def pull(reference, directory, name="image"):
    """An image of a registry as umoci's rootfs: skopeo copy, then umoci unpack. Returns the rootfs."""
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    skopeo_copy(f"docker://{reference}", f"oci:{directory / 'layout'}:{name}")
    return umoci_unpack(directory / "layout", name, directory / "bundle")
