/* SPDX-License-Identifier: Apache-2.0 */
/* The table of commands. */
#include "cli/commands.h"

/* clang-format off */
const struct cli_command *const all_commands[] = {
	&cmd_pull,
	&cmd_install,
	&cmd_switch,
	&cmd_rollback,
	&cmd_list,
	&cmd_inspect,
	&cmd_plan,
	&cmd_files,
	&cmd_cat,
	&cmd_diff,
	&cmd_import,
	&cmd_export,
	&cmd_have,
	&cmd_push,
	&cmd_tag,
	&cmd_remove,
	&cmd_pin,
	&cmd_unpin,
	&cmd_gc,
	&cmd_check,
	&cmd_df,
	&cmd_outdated,
	&cmd_login,
	&cmd_logout,
	&cmd_registry,
	&cmd_config,
	&cmd_help,
	&cmd_version,
};
/* clang-format on */
const size_t n_all_commands = ARRAY_SIZE(all_commands);
