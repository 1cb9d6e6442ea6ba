/* ammpl.hpp - ammpl.h for C++11 and later, header only: handles that destroy themselves, vectors for arrays.
 *
 *     ammpl::context ctx = ammpl::context::create();
 *     ammpl::model clip = ammpl::model::load_file(ctx, "clip-vit-b16");
 *     ammpl::dataset photos = ammpl::dataset::open_folder(ctx, "photos", "train");
 *     ammpl::prompt prompt = ammpl::prompt::create(clip, AMMPL_METHOD_AMMPL, photos.class_names());
 *     ammpl::session session = ammpl::session::create(clip);
 *     ammpl::train(session, prompt, photos);
 *     prompt.save_file("photos.prompt");
 *
 * Functions have the names, arguments, thread tags and errors of ammpl.h, where their comments stand; what has no wrapper
 * here is called with get().  Objects are moved, never copied; an empty one (default made, or moved from) is NULL to the
 * C function.  A config that is left out is NULL: the defaults.
 *
 * ERRORS   A call that fails throws ammpl::error with the status and the sentence.
 *          With AMMPL_NO_EXCEPTIONS defined before the include (or compiled without exceptions) nothing here throws: what
 *          gives an object or numbers gives ammpl::result<T> instead of T, and the others give the ammpl_status:
 *
 *              ammpl::result<ammpl::model> clip = ammpl::model::load_file(*ctx, "clip-vit-b16");
 *              if (!clip)
 *                  return report(clip.status(), ammpl_last_error());
 *              use(*clip);
 *
 *          (Then a vector that finds no memory ends the process, as everywhere in C++ without exceptions.)
 *          AMMPL_END and AMMPL_CANCELLED are no failures: they are returned in both forms.
 */
#ifndef AMMPL_AMMPL_HPP
#define AMMPL_AMMPL_HPP

#include <ammpl/ammpl_handle.hpp>

namespace ammpl {

#ifdef AMMPL_NO_EXCEPTIONS
inline namespace statuses {
#else
inline namespace exceptions {
#endif

/* ---- context and options ------------------------------------------------------------------------------------------ */

class context : public handle<ammpl_context, ammpl_context_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<context> create(const ammpl_allocator *alloc = nullptr)
    {
        ammpl_context *made = nullptr;
        ammpl_status status = ammpl_context_create(alloc, &made);
        return detail::give(status, context(made));
    }
    /* fn and user as in C: they must outlive all children of the context. */
    AMMPL_CHECKED ammpl_status set_log(ammpl_level min, ammpl_log_fn fn, void *user)
    {
        return detail::pass(ammpl_context_set_log(get(), min, fn, user));
    }
    AMMPL_CHECKED ammpl_status set_threads(std::int32_t threads) { return detail::pass(ammpl_context_set_threads(get(), threads)); }
    std::uint64_t memory_now() const
    {
        std::uint64_t now = 0;
        (void)ammpl_context_memory(get(), &now, nullptr);
        return now;
    }
    std::uint64_t memory_peak() const
    {
        std::uint64_t peak = 0;
        (void)ammpl_context_memory(get(), nullptr, &peak);
        return peak;
    }
};

class config : public handle<ammpl_config, ammpl_config_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<config> create(const context &ctx)
    {
        ammpl_config *made = nullptr;
        ammpl_status status = ammpl_config_create(ctx.get(), &made);
        return detail::give(status, config(made));
    }
    AMMPL_CHECKED ammpl_status set_int(ammpl_option id, std::int64_t value)
    {
        return detail::pass(ammpl_config_set_int(get(), id, value));
    }
    AMMPL_CHECKED ammpl_status set_float(ammpl_option id, double value)
    {
        return detail::pass(ammpl_config_set_float(get(), id, value));
    }
    AMMPL_CHECKED ammpl_status set_string(ammpl_option id, const std::string &value)
    {
        return detail::pass(ammpl_config_set_string(get(), id, value.c_str()));
    }
    AMMPL_CHECKED ammpl_status set_text(const std::string &name, const std::string &value)
    {
        return detail::pass(ammpl_config_set_text(get(), name.c_str(), value.c_str()));
    }
    AMMPL_CHECKED result<std::int64_t> get_int(ammpl_option id) const
    {
        std::int64_t value = 0;
        ammpl_status status = ammpl_config_get_int(get(), id, &value);
        return detail::give(status, value);
    }
    AMMPL_CHECKED result<double> get_float(ammpl_option id) const
    {
        double value = 0;
        ammpl_status status = ammpl_config_get_float(get(), id, &value);
        return detail::give(status, value);
    }
    AMMPL_CHECKED result<std::string> get_string(ammpl_option id) const
    {
        const char *value = nullptr;
        ammpl_status status = ammpl_config_get_string(get(), id, &value);
        return detail::give(status, std::string(value ? value : ""));
    }
    bool is_set(ammpl_option id) const { return ammpl_config_is_set(get(), id) != 0; }
};

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

class image : public handle<ammpl_image, ammpl_image_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<image> load_file(const context &ctx, const std::string &path)
    {
        ammpl_image *made = nullptr;
        ammpl_status status = ammpl_image_load_file(ctx.get(), path.c_str(), &made);
        return detail::give(status, image(made));
    }
    static AMMPL_CHECKED result<image> load_memory(const context &ctx, const void *data, std::size_t size)
    {
        ammpl_image *made = nullptr;
        ammpl_status status = ammpl_image_load_memory(ctx.get(), data, size, &made);
        return detail::give(status, image(made));
    }
    static AMMPL_CHECKED result<image> from_pixels(const context &ctx, const std::uint8_t *rgb, std::int32_t width,
                                                   std::int32_t height, std::int64_t row_stride = 0)
    {
        ammpl_image *made = nullptr;
        ammpl_status status = ammpl_image_from_pixels(ctx.get(), rgb, width, height, row_stride, &made);
        return detail::give(status, image(made));
    }
    std::int32_t width() const { return ammpl_image_width(get()); }
    std::int32_t height() const { return ammpl_image_height(get()); }
    const std::uint8_t *pixels() const { return ammpl_image_pixels(get()); }
    AMMPL_CHECKED ammpl_status save_png(const std::string &path) const
    {
        return detail::pass(ammpl_image_save_png(get(), path.c_str()));
    }
};

/* ---- the frozen CLIP ------------------------------------------------------------------------------------------------- */

class model : public handle<ammpl_model, ammpl_model_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<model> load_file(const context &ctx, const std::string &path, const config &cfg = config(),
                                                 const ammpl_device *dev = nullptr)
    {
        ammpl_model *made = nullptr;
        ammpl_status status = ammpl_model_load_file(ctx.get(), dev, path.c_str(), cfg.get(), &made);
        return detail::give(status, model(made));
    }
    AMMPL_CHECKED result<std::int64_t> get_int(ammpl_query query) const
    {
        std::int64_t value = 0;
        ammpl_status status = ammpl_model_get_int(get(), query, &value);
        return detail::give(status, value);
    }
    AMMPL_CHECKED result<double> get_float(ammpl_query query) const
    {
        double value = 0;
        ammpl_status status = ammpl_model_get_float(get(), query, &value);
        return detail::give(status, value);
    }
    AMMPL_CHECKED result<std::string> get_string(ammpl_query query) const
    {
        const char *value = nullptr;
        ammpl_status status = ammpl_model_get_string(get(), query, &value);
        return detail::give(status, std::string(value ? value : ""));
    }
    /* E, the towers' widths, CLS and patches (1 + P), and the numbers of one preprocessed picture, 3*R*R; 0 of an empty handle. */
    std::size_t embed_width() const { return size_of(AMMPL_QUERY_EMBED_WIDTH); }
    std::size_t text_width() const { return size_of(AMMPL_QUERY_TEXT_WIDTH); }
    std::size_t image_width() const { return size_of(AMMPL_QUERY_IMAGE_WIDTH); }
    std::size_t image_rows() const { return get() ? 1 + size_of(AMMPL_QUERY_GRID) * size_of(AMMPL_QUERY_GRID) : 0; }
    std::size_t pixel_count() const { return 3 * size_of(AMMPL_QUERY_IMAGE_SIZE) * size_of(AMMPL_QUERY_IMAGE_SIZE); }
    AMMPL_CHECKED result<std::vector<std::int32_t>> tokenize(const std::string &text) const
    {
        std::size_t need = 0;
        ammpl_status status = ammpl_model_tokenize(get(), text.c_str(), nullptr, 0, &need);
        std::vector<std::int32_t> ids(status == AMMPL_E_BUFFER ? need : 0);
        if (status == AMMPL_E_BUFFER)
            status = ammpl_model_tokenize(get(), text.c_str(), ids.data(), need, nullptr);
        return detail::give(status, std::move(ids));
    }
    AMMPL_CHECKED result<std::vector<float>> preprocess(const image &img) const
    {
        std::vector<float> chw(pixel_count());
        ammpl_status status = ammpl_model_preprocess(get(), img.get(), chw.data(), chw.size());
        return detail::give(status, std::move(chw));
    }
    AMMPL_CHECKED result<std::vector<float>> augment(const image &img, std::uint64_t seed, std::uint32_t image_id,
                                                     std::uint32_t step) const
    {
        std::vector<float> chw(pixel_count());
        ammpl_status status = ammpl_model_augment(get(), img.get(), seed, image_id, step, chw.data(), chw.size());
        return detail::give(status, std::move(chw));
    }
    AMMPL_CHECKED result<image> unprocess(const std::vector<float> &chw) const
    {
        ammpl_image *made = nullptr;
        ammpl_status status = ammpl_model_unprocess(get(), chw.data(), chw.size(), &made);
        return detail::give(status, image(made));
    }

private:
    std::size_t size_of(ammpl_query query) const
    {
        std::int64_t value = 0;
        return ammpl_model_get_int(get(), query, &value) < 0 ? 0 : static_cast<std::size_t>(value);
    }
};

/* ---- labelled pictures ------------------------------------------------------------------------------------------------- */

class dataset : public handle<ammpl_dataset, ammpl_dataset_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<dataset> create(const context &ctx, const std::vector<std::string> &class_names)
    {
        ammpl_dataset *made = nullptr;
        ammpl_status status = ammpl_dataset_create(ctx.get(), detail::pointers(class_names).data(), class_names.size(), &made);
        return detail::give(status, dataset(made));
    }
    /* part "": the folder itself. */
    static AMMPL_CHECKED result<dataset> open_folder(const context &ctx, const std::string &dir, const std::string &part)
    {
        ammpl_dataset *made = nullptr;
        ammpl_status status =
            ammpl_dataset_open_folder(ctx.get(), dir.c_str(), part.empty() ? nullptr : part.c_str(), &made);
        return detail::give(status, dataset(made));
    }
    static AMMPL_CHECKED result<dataset> open_split(const context &ctx, const std::string &root, const std::string &json,
                                                    const std::string &part)
    {
        ammpl_dataset *made = nullptr;
        ammpl_status status = ammpl_dataset_open_split(ctx.get(), root.c_str(), json.c_str(), part.c_str(), &made);
        return detail::give(status, dataset(made));
    }
    AMMPL_CHECKED ammpl_status add_image(const image &img, std::int32_t label)
    {
        return detail::pass(ammpl_dataset_add_image(get(), img.get(), label));
    }
    AMMPL_CHECKED ammpl_status add_file(const std::string &path, std::int32_t label)
    {
        return detail::pass(ammpl_dataset_add_file(get(), path.c_str(), label));
    }
    std::size_t count() const { return ammpl_dataset_count(get()); }
    std::size_t class_count() const { return ammpl_dataset_class_count(get()); }
    std::vector<std::string> class_names() const
    {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < class_count(); i++)
            names.push_back(ammpl_dataset_class_name(get(), i));
        return names;
    }
    std::int32_t label(std::size_t i) const { return ammpl_dataset_label(get(), i); }
    std::int64_t image_id(std::size_t i) const { return ammpl_dataset_image_id(get(), i); }
    /* "" for pixels, and where there is no such item. */
    std::string path(std::size_t i) const
    {
        const char *path = ammpl_dataset_path(get(), i);
        return path ? path : "";
    }
    AMMPL_CHECKED result<image> load_image(std::size_t i) const
    {
        ammpl_image *made = nullptr;
        ammpl_status status = ammpl_dataset_load_image(get(), i, &made);
        return detail::give(status, image(made));
    }
    AMMPL_CHECKED result<std::vector<std::int32_t>> shuffle(std::uint64_t seed, std::uint32_t epoch) const
    {
        std::vector<std::int32_t> order(count());
        ammpl_status status = ammpl_dataset_shuffle(get(), seed, epoch, order.data(), order.size());
        return detail::give(status, std::move(order));
    }
    AMMPL_CHECKED result<dataset> select_shots(std::int32_t shots, std::uint64_t seed) const
    {
        ammpl_dataset *made = nullptr;
        ammpl_status status = ammpl_dataset_select_shots(get(), shots, seed, &made);
        return detail::give(status, dataset(made));
    }
    AMMPL_CHECKED result<dataset> select_classes(const std::vector<std::int32_t> &classes) const
    {
        ammpl_dataset *made = nullptr;
        ammpl_status status = ammpl_dataset_select_classes(get(), classes.data(), classes.size(), &made);
        return detail::give(status, dataset(made));
    }
};

/* ---- what is learned ------------------------------------------------------------------------------------------------------ */

class prompt : public handle<ammpl_prompt, ammpl_prompt_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<prompt> create(const model &m, ammpl_method method, const std::vector<std::string> &class_names,
                                               const config &cfg = config())
    {
        ammpl_prompt *made = nullptr;
        ammpl_status status = ammpl_prompt_create(m.get(), method, detail::pointers(class_names).data(), class_names.size(),
                                                  cfg.get(), &made);
        return detail::give(status, prompt(made));
    }
    static AMMPL_CHECKED result<prompt> load_file(const model &m, const std::string &path, const config &cfg = config())
    {
        ammpl_prompt *made = nullptr;
        ammpl_status status = ammpl_prompt_load_file(m.get(), path.c_str(), cfg.get(), &made);
        return detail::give(status, prompt(made));
    }
    static AMMPL_CHECKED result<prompt> load_memory(const model &m, const void *data, std::size_t size,
                                                    const config &cfg = config())
    {
        ammpl_prompt *made = nullptr;
        ammpl_status status = ammpl_prompt_load_memory(m.get(), data, size, cfg.get(), &made);
        return detail::give(status, prompt(made));
    }
    AMMPL_CHECKED ammpl_status save_file(const std::string &path, bool overwrite = false) const
    {
        return detail::pass(ammpl_prompt_save_file(get(), path.c_str(), overwrite));
    }
    AMMPL_CHECKED result<std::vector<unsigned char>> save_memory() const
    {
        std::size_t need = 0;
        ammpl_status status = ammpl_prompt_save_memory(get(), nullptr, 0, &need);
        std::vector<unsigned char> data(status == AMMPL_E_BUFFER ? need : 0);
        if (status == AMMPL_E_BUFFER)
            status = ammpl_prompt_save_memory(get(), data.data(), need, nullptr);
        return detail::give(status, std::move(data));
    }
    AMMPL_CHECKED ammpl_status rebind_classes(const std::vector<std::string> &class_names)
    {
        return detail::pass(ammpl_prompt_rebind_classes(get(), detail::pointers(class_names).data(), class_names.size()));
    }
    ammpl_method method() const { return ammpl_prompt_method(get()); }
    std::int32_t conditioning() const { return ammpl_prompt_conditioning(get()); }
    std::size_t class_count() const { return ammpl_prompt_class_count(get()); }
    std::vector<std::string> class_names() const
    {
        std::vector<std::string> names;
        for (std::size_t i = 0; i < class_count(); i++)
            names.push_back(ammpl_prompt_class_name(get(), i));
        return names;
    }
    /* "" where there is no such option. */
    std::string option(const std::string &name) const
    {
        const char *value = ammpl_prompt_option(get(), name.c_str());
        return value ? value : "";
    }
    std::size_t tensor_count() const { return ammpl_prompt_tensor_count(get()); }
    std::int32_t tensor_find(const std::string &name) const { return ammpl_prompt_tensor_find(get(), name.c_str()); }
    AMMPL_CHECKED result<ammpl_tensor_info> tensor_describe(std::size_t i) const
    {
        ammpl_tensor_info info = ammpl_tensor_info();
        info.struct_size = sizeof info;
        ammpl_status status = ammpl_prompt_tensor_describe(get(), i, &info);
        return detail::give(status, info);
    }
    AMMPL_CHECKED result<std::vector<float>> tensor_read(std::size_t i) const { return read(i, ammpl_prompt_tensor_read); }
    AMMPL_CHECKED ammpl_status tensor_write(std::size_t i, const std::vector<float> &value)
    {
        return detail::pass(ammpl_prompt_tensor_write(get(), i, value.data(), value.size()));
    }
    AMMPL_CHECKED result<std::vector<float>> gradient_read(std::size_t i) const { return read(i, ammpl_prompt_gradient_read); }
    AMMPL_CHECKED ammpl_status gradient_write(std::size_t i, const std::vector<float> &value)
    {
        return detail::pass(ammpl_prompt_gradient_write(get(), i, value.data(), value.size()));
    }
    AMMPL_CHECKED ammpl_status zero_gradients() { return detail::pass(ammpl_prompt_zero_gradients(get())); }

private:
    result<std::vector<float>> read(std::size_t i, ammpl_status (*fn)(const ammpl_prompt *, std::size_t, float *, std::size_t)) const
    {
        ammpl_tensor_info info = ammpl_tensor_info();
        info.struct_size = sizeof info;
        ammpl_status status = ammpl_prompt_tensor_describe(get(), i, &info);
        std::vector<float> value(static_cast<std::size_t>(info.count));
        if (status >= 0)
            status = fn(get(), i, value.data(), value.size());
        return detail::give(status, std::move(value));
    }
};

/* ---- inference and gradients -------------------------------------------------------------------------------------------------- */

/* Pixels are those of whole pictures, [n, 3, R, R]; features [n, E] and logits [n, C] come back as vectors. */
class session : public handle<ammpl_session, ammpl_session_destroy> {
public:
    session() noexcept : embed_(0), pixels_(0), text_(0) {}
    static AMMPL_CHECKED result<session> create(const model &m, const config &cfg = config())
    {
        session made(m);
        ammpl_session *raw = nullptr;
        ammpl_status status = ammpl_session_create(m.get(), cfg.get(), &raw);
        made.reset(raw);
        return detail::give(status, std::move(made));
    }
    /* Bytes that it will hold at most during AMMPL_PLAN_* of n images. */
    AMMPL_CHECKED result<std::uint64_t> plan(const prompt &p, std::size_t n, std::int32_t call = AMMPL_PLAN_PREDICT)
    {
        std::uint64_t bytes = 0;
        ammpl_status status = ammpl_session_plan(get(), p.get(), n, call, &bytes);
        return detail::give(status, bytes);
    }
    AMMPL_CHECKED result<std::vector<float>> encode_texts(const std::vector<std::string> &texts)
    {
        std::vector<float> out(texts.size() * embed_);
        ammpl_status status =
            ammpl_session_encode_texts(get(), detail::pointers(texts).data(), texts.size(), out.data(), out.size());
        return detail::give(status, std::move(out));
    }
    /* An empty prompt: plain CLIP. */
    AMMPL_CHECKED result<std::vector<float>> encode_images(const prompt &p, const std::vector<float> &pixels)
    {
        std::vector<float> out(pictures(pixels) * embed_);
        ammpl_status status =
            ammpl_session_encode_images(get(), p.get(), pixels.data(), pictures(pixels), out.data(), out.size());
        return detail::give(status, std::move(out));
    }
    AMMPL_CHECKED result<std::vector<float>> encode_classes(const prompt &p)
    {
        std::vector<float> out(p.class_count() * embed_);
        ammpl_status status = ammpl_session_encode_classes(get(), p.get(), out.data(), out.size());
        return detail::give(status, std::move(out));
    }
    AMMPL_CHECKED result<std::vector<float>> predict(const prompt &p, const std::vector<float> &pixels)
    {
        std::vector<float> logits(pictures(pixels) * p.class_count());
        ammpl_status status =
            ammpl_session_predict(get(), p.get(), pixels.data(), pictures(pixels), logits.data(), logits.size());
        return detail::give(status, std::move(logits));
    }
    /* fn(const ammpl_progress &) after every batch; true stops.  predicted may be NULL. */
    template <class F>
    AMMPL_CHECKED ammpl_status evaluate(const prompt &p, const dataset &ds, const config &cfg, F &&fn,
                                        std::vector<std::int32_t> *predicted, ammpl_metrics *out)
    {
        detail::progress_call<typename std::remove_reference<F>::type> call(fn);
        return call.finish(evaluate_with(p, ds, cfg, call.run, &call, predicted, out));
    }
    AMMPL_CHECKED result<ammpl_metrics> evaluate(const prompt &p, const dataset &ds, const config &cfg = config())
    {
        ammpl_metrics metrics;
        ammpl_status status = evaluate_with(p, ds, cfg, nullptr, nullptr, nullptr, &metrics);
        return detail::give(status, metrics);
    }
    /* The loss; batch.struct_size is set here. */
    AMMPL_CHECKED result<double> accumulate(prompt &p, ammpl_batch batch)
    {
        double loss = 0;
        batch.struct_size = sizeof batch;
        ammpl_status status = ammpl_session_accumulate(get(), p.get(), &batch, &loss, nullptr);
        return detail::give(status, loss);
    }
    AMMPL_CHECKED result<std::size_t> aux_rows(const prompt &p, const std::vector<float> &pixels,
                                               const std::vector<std::int32_t> &label)
    {
        std::size_t rows = 0, n = pictures(pixels) == label.size() ? label.size() : 0;
        ammpl_status status = ammpl_session_aux_rows(get(), p.get(), pixels.data(), label.data(), n, &rows);
        return detail::give(status, rows);
    }
    void cancel() { ammpl_session_cancel(get()); }

    /* ---- around the towers: ids [n] to [n, l]; features x [n, E] and z [C, E] to logits [n, C], and back ---- */
    AMMPL_CHECKED result<std::vector<float>> embed_tokens(const std::vector<std::int32_t> &ids)
    {
        std::vector<float> out(ids.size() * text_);
        ammpl_status status = ammpl_session_embed_tokens(get(), ids.data(), ids.size(), out.data(), out.size());
        return detail::give(status, std::move(out));
    }
    AMMPL_CHECKED result<std::vector<float>> similarity(const std::vector<float> &x, const std::vector<float> &z)
    {
        std::size_t n = rows(x.size(), embed_), classes = rows(z.size(), embed_);
        std::vector<float> logits(n * classes);
        ammpl_status status =
            ammpl_session_similarity(get(), x.data(), n, z.data(), classes, logits.data(), logits.size());
        return detail::give(status, std::move(logits));
    }
    /* dx and dz become like x and z; one of them may be NULL. */
    AMMPL_CHECKED ammpl_status similarity_backward(const std::vector<float> &x, const std::vector<float> &z,
                                                   const std::vector<float> &dlogits, std::vector<float> *dx,
                                                   std::vector<float> *dz)
    {
        std::size_t n = rows(x.size(), embed_), classes = rows(z.size(), embed_);
        if (dlogits.size() != n * classes)
            return detail::pass(detail::refuse_shape());
        if (dx)
            dx->resize(x.size());
        if (dz)
            dz->resize(z.size());
        return detail::pass(ammpl_session_similarity_backward(get(), x.data(), n, z.data(), classes, dlogits.data(),
                                                              dx ? dx->data() : nullptr, dz ? dz->data() : nullptr));
    }
    /* The loss; dlogits (may be NULL) becomes like logits. */
    AMMPL_CHECKED result<double> cross_entropy(const std::vector<float> &logits, const std::vector<std::int32_t> &label,
                                               std::vector<float> *dlogits = nullptr, double weight = 0)
    {
        double loss = 0;
        std::size_t classes = rows(logits.size(), label.size());
        if (dlogits)
            dlogits->resize(logits.size());
        ammpl_status status =
            ammpl_session_cross_entropy(get(), logits.data(), label.data(), label.size(), classes, weight, &loss,
                                        dlogits ? dlogits->data() : nullptr, dlogits ? dlogits->size() : 0);
        return detail::give(status, loss);
    }

private:
    explicit session(const model &m) : embed_(m.embed_width()), pixels_(m.pixel_count()), text_(m.text_width()) {}
    /* Half a picture counts as none: n = 0 is refused by every function. */
    std::size_t pictures(const std::vector<float> &pixels) const
    {
        return pixels_ == 0 || pixels.size() % pixels_ != 0 ? 0 : pixels.size() / pixels_;
    }
    ammpl_status evaluate_with(const prompt &p, const dataset &ds, const config &cfg, ammpl_progress_fn fn, void *user,
                               std::vector<std::int32_t> *predicted, ammpl_metrics *out)
    {
        *out = ammpl_metrics();
        out->struct_size = sizeof *out;
        if (predicted)
            predicted->assign(ds.count(), -1);
        return ammpl_session_evaluate(get(), p.get(), ds.get(), cfg.get(), fn, user, predicted ? predicted->data() : nullptr, out);
    }
    /* Half a row counts as none, too. */
    static std::size_t rows(std::size_t numbers, std::size_t width)
    {
        return width == 0 || numbers % width != 0 ? 0 : numbers / width;
    }
    std::size_t embed_, pixels_, text_;
};

/* ---- training --------------------------------------------------------------------------------------------------------------------- */

class optimizer : public handle<ammpl_optimizer, ammpl_optimizer_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<optimizer> create(prompt &p, const config &cfg = config())
    {
        ammpl_optimizer *made = nullptr;
        ammpl_status status = ammpl_optimizer_create(p.get(), cfg.get(), &made);
        return detail::give(status, optimizer(made));
    }
    AMMPL_CHECKED ammpl_status step() { return detail::pass(ammpl_optimizer_step(get())); }
    std::size_t group_count() const { return ammpl_optimizer_group_count(get()); }
    double learning_rate(std::size_t group) const { return ammpl_optimizer_learning_rate(get(), group); }
    AMMPL_CHECKED ammpl_status set_learning_rate(std::size_t group, double lr)
    {
        return detail::pass(ammpl_optimizer_set_learning_rate(get(), group, lr));
    }
    AMMPL_CHECKED ammpl_status set_epoch(std::int64_t epoch) { return detail::pass(ammpl_optimizer_set_epoch(get(), epoch)); }
    AMMPL_CHECKED ammpl_status set_step(std::int64_t epoch, std::int64_t step, std::int64_t steps)
    {
        return detail::pass(ammpl_optimizer_set_step(get(), epoch, step, steps));
    }
};

class trainer : public handle<ammpl_trainer, ammpl_trainer_destroy> {
public:
    using handle::handle;
    static AMMPL_CHECKED result<trainer> create(session &s, prompt &p, const dataset &ds, const config &cfg = config())
    {
        ammpl_trainer *made = nullptr;
        ammpl_status status = ammpl_trainer_create(s.get(), p.get(), ds.get(), cfg.get(), &made);
        return detail::give(status, trainer(made));
    }
    /* AMMPL_END when all steps are done; progress may be NULL, its struct_size is set here. */
    AMMPL_CHECKED ammpl_status step(ammpl_progress *progress = nullptr)
    {
        if (progress)
            progress->struct_size = sizeof *progress;
        return detail::pass(ammpl_trainer_step(get(), progress));
    }
    AMMPL_CHECKED ammpl_status save(const std::string &path) const { return detail::pass(ammpl_trainer_save(get(), path.c_str())); }
    AMMPL_CHECKED ammpl_status load(const std::string &path) { return detail::pass(ammpl_trainer_load(get(), path.c_str())); }
};

inline AMMPL_CHECKED ammpl_status train(session &s, prompt &p, const dataset &ds, const config &cfg = config())
{
    return detail::pass(ammpl_train(s.get(), p.get(), ds.get(), cfg.get(), nullptr, nullptr));
}
/* fn(const ammpl_progress &) after every step; true stops after it. */
template <class F> AMMPL_CHECKED ammpl_status train(session &s, prompt &p, const dataset &ds, const config &cfg, F &&fn)
{
    detail::progress_call<typename std::remove_reference<F>::type> call(fn);
    return call.finish(ammpl_train(s.get(), p.get(), ds.get(), cfg.get(), call.run, &call));
}

} // inline namespace
} // namespace ammpl

#include <ammpl/ammpl_tape.hpp>

#undef AMMPL_CHECKED

#endif /* AMMPL_AMMPL_HPP */
