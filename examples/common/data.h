/* data.h - labelled pictures from --data or --root and --split, and a prompt's classes against theirs. */
#ifndef AMMPL_EXAMPLES_DATA_H
#define AMMPL_EXAMPLES_DATA_H

#include "app.h"

struct data_flags {
    const char *dir, *root, *split, *class_names;
};

/* The lines for these flags in a program's table. */
#define DATA_FLAGS(data)                                                                                               \
    {"data", FLAG_TEXT, &(data).dir, "DIR", "one folder of pictures per class, below DIR or DIR/train, DIR/test ..."}, \
        {"root", FLAG_TEXT, &(data).root, "DIR", "where the paths of --split start"},                                  \
        {"split", FLAG_TEXT, &(data).split, "FILE.json", "CoOp's split file: {\"train\": [[path, label, name], ...]"}, \
    {                                                                                                                  \
        "class-names", FLAG_TEXT, &(data).class_names, "FILE", "lines of \"FOLDER NAME\": what the classes are called" \
    }

bool data_given(const struct data_flags *flags);
/* Says what is missing or contradictory in the flags. */
bool data_check(struct app *app, const struct data_flags *flags);
/* Opens one part: "train", "val" or "test". */
bool data_open(struct app *app, const struct data_flags *flags, const char *part, ammpl_dataset **out);
/* Is there such a part of its own?  (ammpl_dataset_open_folder takes the whole folder where there is not.) */
bool data_has_part(const struct data_flags *flags, const char *part);
/* The class names, borrowed from the data set; free() the array only. */
const char **data_class_names(const ammpl_dataset *data);
/* Makes the prompt's classes and the data's the same, in the same order: by sorting the data where only the order differs,
 * else by giving the prompt the data's classes, which a method that learns per class refuses. */
bool data_match(struct app *app, ammpl_prompt *prompt, ammpl_dataset **data);

#endif
