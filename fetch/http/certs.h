/* SPDX-License-Identifier: Apache-2.0 */
/* certs.d directories: CAs and client certificates per registry (docs/requirements.md 5.15). */
#pragma once

#include "fetch/http/http.h"
#include "fetch/http/url.h"

/* Adds to tls what the first directory that exists has for the host. VARVE_E_TLS: a pair is
 * incomplete. */
int certs_load(struct http_tls *tls, const struct url *u, struct varve_err *e);
