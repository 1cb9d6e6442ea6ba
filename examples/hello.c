/* hello CLIP_FOLDER PHOTOS PICTURE: trains on PHOTOS/CLASS/*.jpg, saves the prompt, says what is on PICTURE. */
#include <ammpl/ammpl.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    const char *name[100];
    float logits[100], *pixels = NULL;
    int64_t R = 0, best = 0;
    ammpl_context *ctx = NULL;
    ammpl_model *clip = NULL;
    ammpl_dataset *photos = NULL;
    ammpl_prompt *prompt = NULL;
    ammpl_session *session = NULL;
    ammpl_image *picture = NULL;
    int ok = argc == 4 && ammpl_context_create(NULL, &ctx) == 0 && ammpl_model_load_file(ctx, NULL, argv[1], NULL, &clip) == 0 &&
             ammpl_dataset_open_folder(ctx, argv[2], "train", &photos) == 0 && ammpl_dataset_class_count(photos) <= 100;
    size_t classes = ok ? ammpl_dataset_class_count(photos) : 0;
    for (size_t i = 0; i < classes; i++)
        name[i] = ammpl_dataset_class_name(photos, i);
    ok = ok && ammpl_prompt_create(clip, AMMPL_METHOD_AMMPL, name, classes, NULL, &prompt) == 0 &&
         ammpl_session_create(clip, NULL, &session) == 0 && ammpl_train(session, prompt, photos, NULL, NULL, NULL) == 0 &&
         ammpl_prompt_save_file(prompt, "hello.safetensors", 1) == 0 && ammpl_image_load_file(ctx, argv[3], &picture) == 0 &&
         ammpl_model_get_int(clip, AMMPL_QUERY_IMAGE_SIZE, &R) == 0 && (pixels = malloc(12 * R * R)) != NULL &&
         ammpl_model_preprocess(clip, picture, pixels, 3 * R * R) == 0 &&
         ammpl_session_predict(session, prompt, pixels, 1, logits, 100) == 0;
    for (size_t i = 0; i < classes; i++)
        best = logits[i] > logits[best] ? i : best;
    puts(ok ? name[best] : argc == 4 ? ammpl_last_error() : "usage: hello CLIP_FOLDER PHOTOS PICTURE");
    free(pixels);
    ammpl_image_destroy(picture), ammpl_session_destroy(session), ammpl_prompt_destroy(prompt);
    ammpl_dataset_destroy(photos), ammpl_model_destroy(clip), ammpl_context_destroy(ctx);
    return !ok;
}
