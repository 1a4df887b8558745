# SPDX-License-Identifier: Apache-2.0
"""Tools that were not written for this project, asked what is right: umoci and skopeo."""

import os
import pathlib
import subprocess


def _run(*command):
    done = subprocess.run([os.fspath(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
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
