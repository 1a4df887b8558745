/* SPDX-License-Identifier: Apache-2.0 */
/* What the parsers of the OCI documents share. */
#pragma once

#include "store/oci/oci.h"

#define OCI_MAX_DESCRIPTORS 10000
#define OCI_MAX_LAYERS      1000
#define OCI_MAX_URLS        64
#define OCI_MAX_STRING      4096 /* media types, annotations that we read */

#define OCI_MT_SQUASHFS "application/vnd.stacker.image.layer.squashfs"

/* Lower case, without parameters and blanks; empty for NULL. False without memory. */
bool oci_media_type_set(char **ret, const char *text);
enum oci_doc_kind oci_doc_kind_of(const char *media_type);
bool oci_is_layer_type(const char *media_type);
bool oci_is_config_type(const char *media_type);

/*
 * One descriptor. lenient: a digest of an algorithm that we do not know leaves digest unset instead
 * of failing (entries of an index that nobody asked for must not be an error).
 */
int oci_descriptor_parse(const json *j, const char *what, bool lenient, struct oci_descriptor *ret,
			 struct varve_err *e);
void oci_descriptor_done(struct oci_descriptor *d);

/* Refuse members that belong to another kind of document, in any case (CVE-2021-41190). */
int oci_refuse_members(const json *j, const char *what, const char *const *names,
		       struct varve_err *e);
/* schemaVersion must be there and be version. */
int oci_need_schema(const json *j, const char *what, uint64_t version, struct varve_err *e);
/* mediaType, if there, must be of this kind; *ret is a copy (empty if absent). */
int oci_take_media_type(const json *j, const char *what, enum oci_doc_kind kind, char **ret,
			struct varve_err *e);
