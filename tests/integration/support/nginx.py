# SPDX-License-Identifier: Apache-2.0
"""nginx with a configuration made by the test: CDN, mirror, faulty proxy, token endpoint."""

import json
import os
import pathlib

from .servers import Server

_CONF = """
{modules}
daemon off;
worker_processes 1;
pid {dir}/pid;
error_log {dir}/error.log warn;
events {{ worker_connections 256; }}
http {{
  log_format varve escape=json '{{"method":"$request_method","path":"$request_uri","status":$status,'
    '"bytes":$body_bytes_sent,"host":"$http_host","authorization":"$http_authorization","range":"$http_range",'
    '"accept":"$http_accept","agent":"$http_user_agent","body":"$request_body","protocol":"$server_protocol",'
    '"proxy_authorization":"$http_proxy_authorization","nth":$connection_requests}}';
  access_log {dir}/access.log varve;
  client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
  uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
  client_max_body_size 0;
  default_type application/octet-stream;
  {http}
  server {{
    listen {address}{listen};
    {server}
  }}
}}
"""


class Nginx(Server):
    """nginx on a free port. `server` is what stands in the server block, `http` beside it; {dir}, {port}
    and {address} are replaced in both. lua=True loads the Lua module. listen=" ssl http2" adds to `listen`."""

    def __init__(self, directory, server, http="", lua=False, listen=""):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        super().__init__(self.directory / "log")
        self._parts = server, http, lua, listen

    def command(self):
        server, http, lua, listen = self._parts
        values = {"dir": os.fspath(self.directory), "port": str(self.port), "address": self.address}
        for key, value in values.items():
            server, http = server.replace("{%s}" % key, value), http.replace("{%s}" % key, value)
        modules = "user root;\n" if os.geteuid() == 0 else ""
        if lua:
            base = "/usr/lib/nginx/modules"
            modules += f"load_module {base}/ndk_http_module.so;\nload_module {base}/ngx_http_lua_module.so;"
        conf = self.directory / "nginx.conf"
        conf.write_text(_CONF.format(modules=modules, http=http, server=server, listen=listen, **values))
        return ["nginx", "-p", os.fspath(self.directory), "-e", os.fspath(self.directory / "error.log"), "-c",
                os.fspath(conf)]

    def requests(self, contains=""):
        """The access log as a list of dictionaries, in order."""
        path = self.directory / "access.log"
        if not path.exists():
            return []
        # $request_body may be part of a blob.
        entries = [json.loads(line) for line in path.read_text(errors="replace").split("\n") if line]
        return [e for e in entries if e["method"] and contains in e["path"]]

    def forget_log(self):
        """Start the access log anew."""
        os.truncate(self.directory / "access.log", 0)

    def workers(self):
        """The pids of the worker processes."""
        path = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        return [int(p) for p in pathlib.Path(path).read_text().split()]
