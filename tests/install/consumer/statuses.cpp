/* consumer-statuses CLIP_FOLDER: what consumer.c does, through ammpl.hpp without exceptions (compiled with -fno-exceptions). */
#include <ammpl/ammpl.hpp>

#include <cstdio>

static const int side = 20;

static ammpl_status use(const char *path)
{
    ammpl::result<ammpl::context> ctx = ammpl::context::create();
    if (!ctx)
        return ctx.status();
    ammpl::result<ammpl::model> nothing = ammpl::model::load_file(*ctx, "/no/such/model");
    if (nothing || nothing.status() != AMMPL_E_IO || *nothing || !*ammpl_last_error())
        return AMMPL_E_INTERNAL;
    ammpl::result<ammpl::model> clip = ammpl::model::load_file(*ctx, path);
    if (!clip)
        return clip.status();
    ammpl::result<ammpl::config> config = ammpl::config::create(*ctx);
    if (!config || config->set_int(AMMPL_OPT_EPOCHS, 2) < 0 || config->set_int(AMMPL_OPT_BATCH, 4) < 0 ||
        config->set_text("augment", "none") < 0)
        return AMMPL_E_OPTION;
    ammpl::result<ammpl::dataset> data = ammpl::dataset::create(*ctx, {"cat", "dog", "red_bird"});
    if (!data)
        return data.status();
    for (int k = 0; k < 6; k++) {
        std::uint8_t rgb[side * side * 3];
        for (int i = 0; i < side * side * 3; i++)
            rgb[i] = static_cast<std::uint8_t>((i * 37 + k * k * 11 + i / 60 * k) % 251);
        ammpl::result<ammpl::image> picture = ammpl::image::from_pixels(*ctx, rgb, side, side);
        if (!picture || data->add_image(*picture, k % 3) < 0)
            return picture.status();
    }
    ammpl::result<ammpl::prompt> prompt =
        ammpl::prompt::create(*clip, AMMPL_METHOD_AMMPL, data->class_names(), *config);
    ammpl::result<ammpl::session> session = ammpl::session::create(*clip);
    if (!prompt || !session)
        return prompt ? session.status() : prompt.status();
    double loss = 0;
    ammpl_status status = ammpl::train(*session, *prompt, *data, *config, [&](const ammpl_progress &p) {
        loss = p.loss;
        return false;
    });
    if (status != AMMPL_OK)
        return status;
    std::printf("loss %.9g\n", loss);
    ammpl::result<ammpl::image> picture = data->load_image(4);
    if (!picture)
        return picture.status();
    ammpl::result<std::vector<float>> pixels = clip->preprocess(*picture);
    if (!pixels)
        return pixels.status();
    ammpl::result<std::vector<float>> logits = session->predict(*prompt, *pixels);
    if (!logits)
        return logits.status();
    for (std::size_t i = 0; i < logits->size(); i++)
        std::printf("%s %.9g\n", prompt->class_names()[i].c_str(), static_cast<double>((*logits)[i]));

    /* Through a tower by hand: the sentence of a refusal is its own. */
    ammpl::result<ammpl::tape> tape = ammpl::tape::create(*clip);
    ammpl_image_input input = ammpl_image_input();
    input.record = AMMPL_RECORD_ALL;
    input.n = 1;
    input.pixels = pixels->data();
    if (!tape || tape->begin_image(input) < 0 || tape->run(77) != AMMPL_E_RANGE || !*ammpl_last_error())
        return AMMPL_E_INTERNAL;
    ammpl::result<std::vector<float>> features = tape->finish();
    if (!features || tape->run(77) != AMMPL_E_STATE || tape->backward(std::vector<float>(3)) != AMMPL_E_SHAPE ||
        *ammpl_last_error() || tape->backward(*features) < 0)
        return AMMPL_E_INTERNAL;
    ammpl::result<std::vector<float>> gradient = tape->gradient(AMMPL_GRADIENT_PIXELS);
    if (!gradient || gradient->size() != pixels->size())
        return AMMPL_E_INTERNAL;
    return AMMPL_OK;
}

int main(int argc, char **argv)
{
    ammpl_status status = argc == 2 ? use(argv[1]) : AMMPL_E_ARGUMENT;
    if (status < 0)
        std::fprintf(stderr, "%s: %s\n", ammpl_status_name(status), ammpl_last_error());
    return status < 0;
}
