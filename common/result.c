// SPDX-License-Identifier: Apache-2.0
#include "common/result.h"

static const struct {
    const char *name;
    const char *text;
    enum err_class class_;
} errors[ERR_N] = {
    [OK] = {"OK", "ok", ERR_CLASS_NONE},
#define ERR(name, class_, text) [ERR_##name] = {#name, text, ERR_CLASS_##class_},
#include "common/errors.def"
#undef ERR
};

const char *err_text(enum err err)
{
    return (unsigned)err < ERR_N ? errors[err].text : "unknown error";
}

const char *err_name(enum err err)
{
    return (unsigned)err < ERR_N ? errors[err].name : "UNKNOWN";
}

enum err_class err_class(enum err err)
{
    return (unsigned)err < ERR_N ? errors[err].class_ : ERR_CLASS_HOSTILE;
}
