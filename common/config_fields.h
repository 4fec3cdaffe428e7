/* A struct of hyper-parameters <-> attributes of a file, from one table that names each field once:
 *
 *     const ConfigField text_fields[] = {
 *         CONFIG_FIELD(TextConfig, CONFIG_INT, "xf_width", width),
 *         CONFIG_FIELD(TextConfig, CONFIG_BOOL, "xf_padding", padding),
 *         CONFIG_ARRAY(UNetConfig, CONFIG_FLOATS, "channel_mult", mult, levels),   levels = how many are used
 *         CONFIG_OPTIONAL(TextConfig, CONFIG_FLOAT, "dropout", dropout),           absent: keeps its value
 *         {0}};
 *     TRY(config_write(file, "/", text_fields, &config));
 *     TRY(config_read(file, "/", text_fields, &config));
 *
 * Stored as i64, f64, text, i32 and f64 arrays; booleans as i64 0 or 1. Errors name the file, the attribute, what was
 * expected and what was found. */
#ifndef GLIDE_COMMON_CONFIG_FIELDS_H
#define GLIDE_COMMON_CONFIG_FIELDS_H

#include "common/h5file.h"

typedef enum {
    CONFIG_INT,    /* int */
    CONFIG_I64,    /* int64_t */
    CONFIG_BOOL,   /* bool */
    CONFIG_FLOAT,  /* float */
    CONFIG_DOUBLE, /* double */
    CONFIG_INTS,   /* int[max] and an int that counts them */
    CONFIG_FLOATS, /* float[max] and an int that counts them */
    CONFIG_TEXT    /* char[max], NUL-terminated */
} ConfigType;

typedef struct ConfigField {
    const char *name; /* of the attribute; NULL ends a table */
    ConfigType type;
    size_t offset, count_offset;
    size_t bytes; /* of the member */
    bool optional;
} ConfigField;

#define CONFIG_FIELD(S, type, name, member) \
    {name, type, offsetof(S, member), 0, sizeof(((S *)0)->member), false}
#define CONFIG_OPTIONAL(S, type, name, member) \
    {name, type, offsetof(S, member), 0, sizeof(((S *)0)->member), true}
#define CONFIG_ARRAY(S, type, name, member, count_member) \
    {name, type, offsetof(S, member), offsetof(S, count_member), sizeof(((S *)0)->member), false}

Status config_write(H5File *file, const char *object, const ConfigField *fields, const void *config);
Status config_read(const H5File *file, const char *object, const ConfigField *fields, void *config);
/* The value of one field as text ("64", "1,2,4", "squaredcos_cap_v2"), cut to `size`. Returns `text`. */
const char *config_show(const ConfigField *field, const void *config, char *text, size_t size);

#endif
