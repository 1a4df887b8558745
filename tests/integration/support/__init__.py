# SPDX-License-Identifier: Apache-2.0
"""What the integration tests stand on: servers, images, trees and the varve command.

    from support import Case, Layout, Tar, tree

See tests/README.md for one worked example.
"""

from . import oracle, samples, tree
from .case import Case, need_data, need_root
from .image import EMPTY_LAYER, EMPTY_LAYER_DIGEST, Layout, compress, digest_of
from .nginx import Nginx
from .registry import Registry
from .servers import free_port
from .tarball import Tar
from .tokens import Tokens
from .varve import Result, Varve, binary

__all__ = [
    "Case", "EMPTY_LAYER", "EMPTY_LAYER_DIGEST", "Layout", "Nginx", "Registry", "Result", "Tar",
    "Tokens", "Varve", "binary", "compress", "digest_of", "free_port", "need_data", "need_root", "oracle",
    "samples", "tree",
]
