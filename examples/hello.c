/* hello [--backend NAME] [--backend-dir DIR] CLIP_FOLDER PHOTOS PICTURE: learns the classes of PHOTOS (a folder each), saves that, and
 * names PICTURE; on the CPU, or with --backend cuda on a GPU (DIR: where backends lie that are not installed). */
#include <ammpl/ammpl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void ok(ammpl_status status)
{
    if (status < 0)
        exit(fprintf(stderr, "%s\n", ammpl_last_error()) > 0);
}

int main(int argc, char **argv)
{
    ammpl_context *ctx;
    const ammpl_device *device;
    ammpl_model *clip;
    ammpl_dataset *photos;
    ammpl_prompt *prompt;
    ammpl_session *session;
    ammpl_image *picture;
    const char *name[100], *backend = "cpu", *folder = NULL;
    static float logits[100], pixels[3 * 336 * 336];
    size_t best = 0, classes;
    for (; argc > 4 && strncmp(argv[1], "--backend", 9) == 0; argc -= 2, argv += 2)
        *(strcmp(argv[1], "--backend") == 0 ? &backend : &folder) = argv[2];
    if (argc != 4)
        return fprintf(stderr, "usage: hello [--backend NAME] [--backend-dir DIR] CLIP_FOLDER PHOTOS PICTURE\n"), 2;
    ok(ammpl_context_create(NULL, &ctx));
    if (strcmp(backend, "cpu") != 0)
        ok(ammpl_context_scan_backends(ctx, folder)); /* NULL: those installed */
    device = ammpl_device_find(ctx, backend);
    ok(device ? AMMPL_OK : AMMPL_E_BACKEND);
    ok(ammpl_model_load_file(ctx, device, argv[1], NULL, &clip));
    ok(ammpl_dataset_open_folder(ctx, argv[2], "train", &photos));
    for (classes = 0; classes < ammpl_dataset_class_count(photos) && classes < 100; classes++)
        name[classes] = ammpl_dataset_class_name(photos, classes);
    ok(ammpl_prompt_create(clip, AMMPL_METHOD_AMMPL, name, classes, NULL, &prompt));
    ok(ammpl_session_create(clip, NULL, &session));
    ok(ammpl_train(session, prompt, photos, NULL, NULL, NULL));
    ok(ammpl_prompt_save_file(prompt, "hello.safetensors", 1));

    ok(ammpl_image_load_file(ctx, argv[3], &picture));
    ok(ammpl_model_preprocess(clip, picture, pixels, sizeof pixels / sizeof pixels[0]));
    ok(ammpl_session_predict(session, prompt, pixels, 1, logits, 100));
    for (size_t i = 1; i < classes; i++)
        best = logits[i] > logits[best] ? i : best;
    puts(ammpl_prompt_class_name(prompt, best));

    ammpl_image_destroy(picture), ammpl_session_destroy(session), ammpl_prompt_destroy(prompt);
    ammpl_dataset_destroy(photos), ammpl_model_destroy(clip), ammpl_context_destroy(ctx);
    return 0;
}
