/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the groups of roots are called: a frame by its function, file and line. */
#ifndef SAFEPOINT_CLI_EXPORT_FRAMES_H
#define SAFEPOINT_CLI_EXPORT_FRAMES_H

#include "cli/export_groups.h"
#include "cli/heap_view.h"

#define EXPORT_GROUP_NAME_MAX 1024

struct export_frames {
    struct heap_view *view;
    struct export_code {
        uint32_t node;
        uint32_t strings[3]; /* nodes: qualified name, name, file; HEAP_NONE */
        char *texts[3];      /* or NULL: of a snapshot without values */
    } *codes;                /* by rising node */
    size_t count;
};

/* Reads the names of the groups' frames. ERROR_SYSTEM, ERROR_BAD_FILE. End it with export_frames_deinit() in any case. */
struct error *export_frames_init(struct export_frames *frames, struct heap_view *view, const struct export_groups *groups)
    __attribute__((warn_unused_result));
void export_frames_deinit(struct export_frames *frames);

/* "(modules)", "(thread 2)", "(frame Worker.run, app/worker.py:88)", or "(frame 3)" where nothing tells more. `text` has
 * EXPORT_GROUP_NAME_MAX bytes. */
void export_name_group(const struct export_frames *frames, const struct export_group *group, char *text);

#endif
