/* consumer-cpp CLIP_FOLDER: what consumer.c does, through ammpl.hpp with exceptions; and what only C++ has: objects that move and
 * do not copy, failures that are thrown, exceptions that pass through a training run.
 */
#include <ammpl/ammpl.hpp>

#include <cstdio>
#include <cstdlib>
#include <type_traits>

static_assert(!std::is_copy_constructible<ammpl::model>::value && !std::is_copy_assignable<ammpl::prompt>::value,
              "move-only");
static_assert(std::is_nothrow_move_constructible<ammpl::session>::value &&
                  std::is_nothrow_move_assignable<ammpl::session>::value,
              "");

static const int side = 20;
static const std::vector<std::string> names = {"cat", "dog", "red_bird"};

static void expect(bool condition, const char *what)
{
    if (!condition) {
        std::fprintf(stderr, "not so: %s\n", what);
        std::exit(1);
    }
}

static ammpl::image draw(const ammpl::context &ctx, int k)
{
    std::vector<std::uint8_t> rgb(side * side * 3);
    for (int i = 0; i < side * side * 3; i++)
        rgb[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>((i * 37 + k * k * 11 + i / 60 * k) % 251);
    return ammpl::image::from_pixels(ctx, rgb.data(), side, side);
}

/* The status of the failure that fn throws; AMMPL_OK when it throws none. */
template <class F> static ammpl_status thrown(F fn)
{
    try {
        fn();
    } catch (const ammpl::error &e) {
        expect(e.what()[0] != '\0', "an error has a sentence");
        return e.status();
    }
    return AMMPL_OK;
}

static void use(const char *path)
{
    ammpl::context ctx = ammpl::context::create();
    ammpl::model clip = ammpl::model::load_file(ctx, path);
    ammpl::config config = ammpl::config::create(ctx);
    config.set_int(AMMPL_OPT_EPOCHS, 2);
    config.set_int(AMMPL_OPT_BATCH, 4);
    config.set_text("augment", "none");
    ammpl::dataset data = ammpl::dataset::create(ctx, names);
    for (int k = 0; k < 6; k++)
        data.add_image(draw(ctx, k), k % 3);
    ammpl::prompt prompt = ammpl::prompt::create(clip, AMMPL_METHOD_AMMPL, data.class_names(), config);
    ammpl::session session = ammpl::session::create(clip);

    /* A step's exception comes out of train, and the prompt is as after that step. */
    ammpl::prompt other = ammpl::prompt::create(clip, AMMPL_METHOD_AMMPL, names, config);
    int steps = 0;
    try {
        ammpl::train(session, other, data, config, [&](const ammpl_progress &) -> bool {
            steps++;
            throw 42;
        });
        expect(false, "train throws what its callback throws");
    } catch (int number) {
        expect(number == 42 && steps == 1, "it is thrown after that step");
    }
    expect(ammpl::train(session, other, data, config, [](const ammpl_progress &) { return true; }) == AMMPL_CANCELLED,
           "a callback's true cancels");

    double loss = 0;
    ammpl::train(session, prompt, data, config, [&](const ammpl_progress &p) {
        loss = p.loss;
        return false;
    });
    std::printf("loss %.9g\n", loss);
    std::vector<float> logits = session.predict(prompt, clip.preprocess(data.load_image(4)));
    for (std::size_t i = 0; i < logits.size(); i++)
        std::printf("%s %.9g\n", prompt.class_names()[i].c_str(), static_cast<double>(logits[i]));

    /* Files in memory, tensors, evaluation. */
    std::vector<unsigned char> bytes = prompt.save_memory();
    ammpl::prompt again = ammpl::prompt::load_memory(clip, bytes.data(), bytes.size());
    std::size_t ctx_index = static_cast<std::size_t>(again.tensor_find("ctx"));
    expect(again.tensor_read(ctx_index) == prompt.tensor_read(ctx_index), "tensors are read as they were saved");
    std::vector<std::int32_t> predicted;
    ammpl_metrics metrics;
    session.evaluate(
        again, data, config, [](const ammpl_progress &) { return false; }, &predicted, &metrics);
    expect(predicted.size() == 6 && metrics.samples == 6 &&
               ammpl_metrics(session.evaluate(again, data)).correct == metrics.correct,
           "evaluation");

    /* Moving, and failures. */
    ammpl::session moved = std::move(session);
    expect(!session && moved && moved.predict(again, clip.preprocess(data.load_image(4))) == logits,
           "a moved session works");
    expect(thrown([&] { session.encode_texts(names); }) == AMMPL_E_ARGUMENT, "an empty session is refused");
    moved = ammpl::session::create(clip);
    expect(thrown([&] { ammpl::model::load_file(ctx, "/no/such/model"); }) == AMMPL_E_IO, "a missing file");
    expect(thrown([&] { config.set_text("epoch", "1"); }) == AMMPL_E_OPTION, "a misspelt option");
    expect(thrown([&] { moved.predict(again, std::vector<float>(7)); }) == AMMPL_E_ARGUMENT, "half a picture");
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    try {
        use(argv[1]);
    } catch (const ammpl::error &e) {
        std::fprintf(stderr, "%s: %s\n", ammpl_status_name(e.status()), e.what());
        return 1;
    }
    return 0;
}
