/* jsonlines KEY...: standard input must be lines of one JSON object each, all with these keys; prints their values as JSON,
 * separated by tabs.  Exit status 1 and a sentence where that is not so, or where there is no line. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0, lines = 0;
    while (getline(&line, &size, stdin) >= 0) {
        json_error_t error;
        json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, &error);
        lines++;
        if (!json_is_object(object)) {
            fprintf(stderr, "line %zu is not a JSON object: %s\n", lines, error.text);
            return 1;
        }
        for (int i = 1; i < argc; i++) {
            json_t *value = json_object_get(object, argv[i]);
            char *text = value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
            if (text == NULL) {
                fprintf(stderr, "line %zu has no \"%s\"\n", lines, argv[i]);
                return 1;
            }
            printf("%s%s", i == 1 ? "" : "\t", text);
            free(text);
        }
        putchar('\n');
        json_decref(object);
    }
    free(line);
    if (lines == 0)
        fprintf(stderr, "no lines\n");
    return lines == 0;
}
