/* api.h - what the cases of test_api share.  They see the public header and libammpl.so, nothing else: this program is kept
 * with every release and run against later libraries (lib/ABI.md).
 */
#ifndef AMMPL_TESTS_API_H
#define AMMPL_TESTS_API_H

#include <ammpl/ammpl.h>
#include <check.h>
#include <stdlib.h>
#include <string.h>

/* Fails the case unless the call gives `expected` and, where that is an error, a sentence with `word` in it. */
#define ck_is(call, expected, word)                                                                                      \
    do {                                                                                                                 \
        ammpl_status ck_got = (call);                                                                                    \
        ck_assert_msg(ck_got == (expected), "%s: %s (%s), expected %s", #call, ammpl_status_name(ck_got),                \
                      ammpl_last_error(), ammpl_status_name(expected));                                                  \
        ck_assert_msg(ck_got >= 0 || strstr(ammpl_last_error(), (word)) != NULL, "%s: \"%s\" does not say \"%s\"", #call, \
                      ammpl_last_error(), (word));                                                                       \
        ck_assert_msg(ck_got < 0 || ammpl_last_error()[0] == '\0', "%s: done, but a sentence stands: %s", #call,         \
                      ammpl_last_error());                                                                               \
    } while (0)
#define ck_done(call) ck_is(call, AMMPL_OK, "")

/* The nano fixture (tests/golden/nano) and one of everything made on it. */
enum { IMAGE_SIZE = 15, PIXELS = 3 * IMAGE_SIZE * IMAGE_SIZE, EMBED = 22, GRID = 3, PATCH = 5, CLASSES = 3 };
extern const char *const class_names[CLASSES];
typedef struct world {
    ammpl_context *ctx;
    ammpl_config *config; /* two epochs of batches of two, no augmentation */
    ammpl_model *model;
    ammpl_image *image; /* 20 x 17 pixels */
    ammpl_dataset *data; /* 4 pictures: classes 0, 1, 2, 1 */
    ammpl_prompt *prompt; /* ammpl, shared scope */
    ammpl_session *session;
    ammpl_optimizer *optimizer;
    ammpl_trainer *trainer;
} world;
/* Makes it with this allocator (NULL: the C library's); on failure what there is by then stays in w. */
ammpl_status world_create(world *w, const ammpl_allocator *alloc);
void world_destroy(world *w);
/* The same for cases that only use it. */
world *world_shared(void);
const char *nano_path(void);

TCase *case_null(void);
TCase *case_arguments(void);
TCase *case_buffers(void);
TCase *case_engine(void);
TCase *case_errors(void);
TCase *case_memory(void);
TCase *case_states(void);
TCase *case_structs(void);

#endif
