/* SPDX-License-Identifier: Apache-2.0 */
/* The commands, each defined in its cmd_*.c. */
#pragma once

#include "cli/cli.h"

extern const struct cli_command cmd_cat;
extern const struct cli_command cmd_check;
extern const struct cli_command cmd_config;
extern const struct cli_command cmd_df;
extern const struct cli_command cmd_diff;
extern const struct cli_command cmd_export;
extern const struct cli_command cmd_files;
extern const struct cli_command cmd_gc;
extern const struct cli_command cmd_have;
extern const struct cli_command cmd_help;
extern const struct cli_command cmd_import;
extern const struct cli_command cmd_inspect;
extern const struct cli_command cmd_install;
extern const struct cli_command cmd_list;
extern const struct cli_command cmd_login;
extern const struct cli_command cmd_logout;
extern const struct cli_command cmd_outdated;
extern const struct cli_command cmd_pin;
extern const struct cli_command cmd_plan;
extern const struct cli_command cmd_pull;
extern const struct cli_command cmd_push;
extern const struct cli_command cmd_registry;
extern const struct cli_command cmd_remove;
extern const struct cli_command cmd_rollback;
extern const struct cli_command cmd_switch;
extern const struct cli_command cmd_tag;
extern const struct cli_command cmd_unpin;
extern const struct cli_command cmd_version;

/* All of them, in the order in which help shows them. */
extern const struct cli_command *const all_commands[];
extern const size_t n_all_commands;
