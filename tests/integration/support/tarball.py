# SPDX-License-Identifier: Apache-2.0
"""Writes tar archives byte by byte, so that a test decides every field, also the wrong ones."""

REG, LNK, SYM, CHR, BLK, DIR, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


def _raw(text):
    return text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")


def _number(value, width):
    if 0 <= value < 8 ** (width - 1):
        return b"%0*o\0" % (width - 1, value)
    return b"\x80" + (value & ((1 << 8 * (width - 1)) - 1)).to_bytes(width - 1, "big")


def _pax_record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length = len(str(length)) + len(body)
    return str(length).encode() + body


def _pad(data):
    return data + b"\0" * (-len(data) % 512)


def header(name, typeflag, size=0, mode=0o644, uid=0, gid=0, mtime=0, link=b"", dev=(0, 0),
           magic=b"ustar\x0000", prefix=b"", uname=b"", gname=b"", tail=None):
    """One 512-byte header with a right checksum; every argument goes in as given."""
    block = (name[:100].ljust(100, b"\0") + _number(mode, 8) + _number(uid, 8) + _number(gid, 8)
             + _number(size, 12) + _number(mtime, 12) + b" " * 8 + typeflag
             + link[:100].ljust(100, b"\0") + magic + uname.ljust(32, b"\0") + gname.ljust(32, b"\0")
             + _number(dev[0], 8) + _number(dev[1], 8)
             + (prefix.ljust(155, b"\0") + b"\0" * 12 if tail is None else tail))
    assert len(block) == 512
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def patched(block, offset, data):
    """A header with other bytes at offset, and a right checksum."""
    block = block[:offset] + data + block[offset + len(data):]
    block = block[:148] + b" " * 8 + block[156:]
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


class Tar:
    """Collects entries in order. Every method returns self, so calls chain.

    mtime is in nanoseconds when it is a str ("1234567890.123456789"), in seconds when an int.
    """

    def __init__(self):
        self._parts = []

    def raw(self, data):
        """Bytes as they are: broken headers, truncated bodies."""
        self._parts.append(data)
        return self

    def entry(self, name, typeflag, data=b"", mode=0o644, uid=0, gid=0, mtime=0, link="", dev=(0, 0),
              xattrs=None, pax=None, size=None):
        name, link = _raw(name), _raw(link)
        records = [(_raw(k), _raw(v)) for k, v in (pax or {}).items()]
        for key, value in (xattrs or {}).items():
            records.append((b"SCHILY.xattr." + _raw(key), _raw(value)))
        if len(name) > 100 or name.endswith(b"/") and len(name) > 99:
            records.append((b"path", name))
        if len(link) > 100:
            records.append((b"linkpath", link))
        seconds = mtime
        if isinstance(mtime, str):
            records.append((b"mtime", mtime.encode()))
            seconds = max(0, int(mtime.split(".")[0]))
        elif mtime < 0 or mtime >= 8 ** 11:
            records.append((b"mtime", b"%d" % mtime))
            seconds = 0
        if records:
            self.pax_header(records)
        length = len(data) if size is None else size
        self._parts.append(header(name, typeflag, length, mode, uid, gid, seconds, link, dev))
        self._parts.append(_pad(data))
        return self

    def pax_header(self, records, typeflag=b"x", name=b"PaxHeaders/x"):
        """A pax extended header ('g' for a global one) of (key, value) pairs of bytes."""
        body = b"".join(_pax_record(k, v) for k, v in records)
        self._parts.append(header(name, typeflag, len(body)) + _pad(body))
        return self

    def dir(self, name, mode=0o755, **kw):
        return self.entry(name if str(name).endswith("/") or isinstance(name, bytes) else name + "/",
                          DIR, mode=mode, **kw)

    def file(self, name, data=b"", **kw):
        return self.entry(name, REG, _raw(data), **kw)

    def symlink(self, name, target, **kw):
        return self.entry(name, SYM, link=target, mode=kw.pop("mode", 0o777), **kw)

    def hardlink(self, name, target, **kw):
        return self.entry(name, LNK, link=target, **kw)

    def fifo(self, name, **kw):
        return self.entry(name, FIFO, **kw)

    def chardev(self, name, major, minor, **kw):
        return self.entry(name, CHR, dev=(major, minor), **kw)

    def blockdev(self, name, major, minor, **kw):
        return self.entry(name, BLK, dev=(major, minor), **kw)

    def whiteout(self, path):
        """Hide `path` of the layers below."""
        parent, _, base = path.rpartition("/")
        return self.file((parent + "/" if parent else "") + ".wh." + base)

    def opaque(self, path):
        """Hide everything that the layers below have in directory `path`."""
        return self.file((path + "/" if path else "") + ".wh..wh..opq")

    def sparse(self, name, size, chunks, **kw):
        """A GNU 1.0 sparse file: chunks is [(offset, bytes)]."""
        table = b"%d\n" % len(chunks) + b"".join(b"%d\n%d\n" % (o, len(d)) for o, d in chunks)
        pax = dict(kw.pop("pax", {}))
        pax.update({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name,
                    "GNU.sparse.realsize": str(size)})
        return self.entry("GNUSparseFile.0/x", REG, _pad(table) + b"".join(d for _, d in chunks), pax=pax, **kw)

    def bytes(self, end=True):
        """The archive; end=False leaves the two closing zero blocks out."""
        return b"".join(self._parts) + (b"\0" * 1024 if end else b"")
