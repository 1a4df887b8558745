# SPDX-License-Identifier: Apache-2.0
"""nginx in front of a docker-registry, with Lua for the faults that it shall show; and layers large enough to be cut."""

import random

from .tarball import Tar

# The registry's tokens and redirects name the host that the client asked for.
_PROXY = """proxy_pass http://%(registry)s; proxy_http_version 1.1; proxy_set_header Host $http_host;
  proxy_set_header Connection ''; proxy_max_temp_file_size 0;"""

# body_filter: end the connection after ngx.ctx.limit bytes.
CUT = """body_filter_by_lua_block {
  if not ngx.ctx.limit then return end
  local left = ngx.ctx.limit - (ngx.ctx.sent or 0)
  if ngx.arg[1] then
    if #ngx.arg[1] > left then
      ngx.arg[1] = string.sub(ngx.arg[1], 1, left); ngx.ctx.sent = ngx.ctx.limit
      if ngx.ctx.over then return ngx.ERROR end
      ngx.ctx.over = true
    else
      ngx.ctx.sent = (ngx.ctx.sent or 0) + #ngx.arg[1]
    end
  end
}"""


def front(registry, blobs="", manifests="", other="", http="", uploads=""):
    """(server block, http block): `blobs`, `manifests` and `uploads` go into the locations of those requests."""
    proxy = _PROXY % {"registry": registry.address}
    server = f"""
  location ~ ^/v2/.+/blobs/sha256: {{ {proxy} {blobs} }}
  location ~ ^/v2/.+/manifests/ {{ {proxy} {manifests} }}
  location ~ ^/v2/.+/blobs/uploads/ {{ {proxy} {uploads} }}
  location / {{ {proxy} }}
  {other}"""
    return server, "lua_shared_dict state 1m;\n" + http


def random_layer(size, seed=1):
    """An uncompressed tar of about size bytes that cannot be compressed."""
    source, part = random.Random(seed), 1 << 20
    data = b"".join(source.randbytes(min(part, size - at)) for at in range(0, size, part))
    return Tar().dir("data").file("data/file%d" % seed, data).bytes()
