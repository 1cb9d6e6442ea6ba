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

static std::vector<float> numbers(std::size_t count, int k)
{
    std::vector<float> x(count);
    for (std::size_t i = 0; i < count; i++)
        x[i] = static_cast<float>((i * 29 + static_cast<std::size_t>(k * k)) % 23) / 23 - 0.5f;
    return x;
}

/* The towers: what the wrapper gives is what C gives, and arrays of another size than their shape are refused. */
static void towers(const ammpl::model &clip)
{
    ammpl::session session = ammpl::session::create(clip);
    ammpl::tape tape = ammpl::tape::create(clip), raw = ammpl::tape::create(clip);
    const std::size_t n = 2, E = clip.embed_width(), W = clip.image_width(), l = clip.text_width(), N = clip.image_rows();
    const std::int32_t blocks = static_cast<std::int32_t>(clip.get_int(AMMPL_QUERY_IMAGE_LAYERS));
    expect(blocks > 1 && E > 0 && l > 0, "the model has towers");

    /* Pictures: prompts of each picture's own before block 0, others for both before the last. */
    std::vector<float> pixels = numbers(n * clip.pixel_count(), 1), own = numbers(n * 3 * W, 2), both = numbers(2 * W, 3);
    ammpl_image_input image = ammpl_image_input();
    image.record = AMMPL_RECORD_ALL;
    image.n = n;
    image.pixels = pixels.data();
    tape.begin_image(image);
    tape.insert(0, own, true, true);
    tape.run(blocks - 1);
    std::vector<float> tokens = tape.tokens(), dtokens = numbers(tokens.size(), 4), d = numbers(n * E, 5);
    expect(tokens.size() == n * (N + 3) * W, "tokens have room for the slots");
    tape.insert(blocks - 1, both);
    std::vector<float> features = tape.finish();
    tape.seed(0, dtokens);
    expect(thrown([&] { tape.backward(std::vector<float>(n * E - 1)); }) == AMMPL_E_SHAPE, "too few numbers");
    tape.backward(d);

    std::vector<float> out(n * E), gradient(pixels.size());
    image.struct_size = sizeof image;
    expect(ammpl_tape_begin_image(raw.get(), &image) == AMMPL_OK &&
               ammpl_tape_insert(raw.get(), 0, own.data(), 3, 1, 1) == AMMPL_OK &&
               ammpl_tape_run(raw.get(), blocks - 1) == AMMPL_OK &&
               ammpl_tape_tokens(raw.get(), tokens.data(), tokens.size()) == AMMPL_OK &&
               ammpl_tape_insert(raw.get(), blocks - 1, both.data(), 2, 0, 0) == AMMPL_OK &&
               ammpl_tape_finish(raw.get(), out.data(), out.size()) == AMMPL_OK &&
               ammpl_tape_seed(raw.get(), 0, dtokens.data(), dtokens.size()) == AMMPL_OK &&
               ammpl_tape_backward(raw.get(), d.data()) == AMMPL_OK &&
               ammpl_tape_gradient(raw.get(), AMMPL_GRADIENT_PIXELS, 0, gradient.data(), gradient.size()) == AMMPL_OK,
           "the same in C");
    expect(features == out && tape.gradient(AMMPL_GRADIENT_PIXELS) == gradient, "the same features and gradients");
    for (std::size_t k = 0; k < 2; k++) {
        gradient.assign(k == 0 ? own.size() : both.size(), 0);
        expect(ammpl_tape_gradient(raw.get(), AMMPL_GRADIENT_PROMPT, k, gradient.data(), gradient.size()) == AMMPL_OK &&
                   tape.gradient(AMMPL_GRADIENT_PROMPT, k) == gradient && gradient != std::vector<float>(gradient.size()),
               "the same gradients of prompts");
    }
    expect(thrown([&] { tape.gradient(AMMPL_GRADIENT_PROMPT, 2); }) == AMMPL_E_RANGE, "no such insert");
    expect(thrown([&] { tape.gradient(AMMPL_GRADIENT_PREFIX); }) == AMMPL_E_STATE, "a picture has no prefix");

    /* Texts: sequences of two lengths behind a prefix; from features to a loss and back. */
    std::vector<float> rows = session.embed_tokens(std::vector<std::int32_t>(6, 3)), prefix = numbers(2 * l, 6);
    const std::int32_t length[2] = {3, 2};
    ammpl_text_input text = ammpl_text_input();
    text.record = AMMPL_RECORD_ALL;
    text.n = 2;
    text.L = 3;
    text.rows = rows.data();
    text.length = length;
    text.prefix = prefix.data();
    text.prefix_rows = 2;
    text.slot_first = 1;
    text.slots = 1;
    tape.begin_text(text);
    expect(thrown([&] { tape.insert(1, std::vector<float>(l + 1)); }) == AMMPL_E_SHAPE, "no whole tokens");
    tape.insert(1, numbers(l, 7));
    std::vector<float> z = tape.finish(), logits = session.similarity(features, z), dlogits, dz, dx;
    expect(logits.size() == 4, "a logit for each pair");
    double loss = session.cross_entropy(logits, {1, 0}, &dlogits);
    session.similarity_backward(features, z, dlogits, &dx, &dz);
    tape.backward(dz);
    expect(loss > 0 && dx.size() == features.size(), "a loss");
    expect(tape.gradient(AMMPL_GRADIENT_PREFIX).size() == 2 * l, "like the prefix");
    std::vector<float> drows = tape.gradient(AMMPL_GRADIENT_ROWS);
    expect(drows.size() == rows.size() && drows[0] != 0 && drows[5 * l] == 0, "like the rows, zero behind a length");
    expect(thrown([&] { session.similarity(features, std::vector<float>(E + 1)); }) == AMMPL_E_ARGUMENT, "half a row");
    expect(thrown([&] { session.similarity_backward(features, z, std::vector<float>(3), &dx, &dz); }) == AMMPL_E_SHAPE,
           "too few gradients");
    ammpl::tape moved = std::move(tape);
    expect(!tape && moved.gradient(AMMPL_GRADIENT_ROWS) == drows, "a moved tape has its pass");
    expect(thrown([&] { tape.finish(); }) == AMMPL_E_ARGUMENT, "an empty tape is refused");
    expect(ammpl::tape::plan(clip, AMMPL_TOWER_TEXT, 2, 5, AMMPL_RECORD_ALL) > 0, "a plan");
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

    /* What replicas need. */
    ammpl::optimizer optimizer = ammpl::optimizer::create(again, config);
    std::vector<float> first = clip.preprocess(data.load_image(0));
    expect(session.aux_rows(again, first, {0}) == 0, "only DPT has auxiliary rows");
    expect(thrown([&] { session.aux_rows(again, first, {0, 1}); }) == AMMPL_E_ARGUMENT, "a label for each picture");
    optimizer.set_step(0, 0, 4);
    expect(thrown([&] { optimizer.set_step(0, -1, 4); }) == AMMPL_E_RANGE, "no such step");

    /* Moving, and failures. */
    ammpl::session moved = std::move(session);
    expect(!session && moved && moved.predict(again, clip.preprocess(data.load_image(4))) == logits,
           "a moved session works");
    expect(thrown([&] { session.encode_texts(names); }) == AMMPL_E_ARGUMENT, "an empty session is refused");
    moved = ammpl::session::create(clip);
    expect(thrown([&] { ammpl::model::load_file(ctx, "/no/such/model"); }) == AMMPL_E_IO, "a missing file");
    expect(thrown([&] { config.set_text("epoch", "1"); }) == AMMPL_E_OPTION, "a misspelt option");
    expect(thrown([&] { moved.predict(again, std::vector<float>(7)); }) == AMMPL_E_ARGUMENT, "half a picture");
    towers(clip);
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
