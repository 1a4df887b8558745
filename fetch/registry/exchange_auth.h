/* SPDX-License-Identifier: Apache-2.0 */
/* Exchanges with registries: answers, challenges and tokens put together. */
#pragma once

#include "fetch/registry/exchange.h"

/* For client_new(). */
extern const struct exchange_ops registry_exchange;
