//! The safe wrapper on the nano model: what it gives back, refuses and lets pass between threads.
use ammpl::{sys, Batch, Config, Context, Dataset, Image, Model, Optimizer, Outcome, Prompt, Session};
use ammpl::{Gradient, Record, Tape, TextInput};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread;

fn crosses_threads<T: Send>() {}
fn shared_between_threads<T: Send + Sync>() {}

/// By the header's tags; that a Session is not Sync stands in lib.rs, as an example that must not compile.
#[test]
fn threads() {
    shared_between_threads::<Model>();
    shared_between_threads::<Prompt>();
    shared_between_threads::<Dataset>();
    shared_between_threads::<Image>();
    shared_between_threads::<Config>();
    shared_between_threads::<Context>();
    crosses_threads::<Session>();
    crosses_threads::<Optimizer>();
    crosses_threads::<Tape>();
}

const NAMES: [&str; 3] = ["cat", "dog", "red_bird"];

fn nano() -> String {
    std::env::var("AMMPL_NANO").expect("AMMPL_NANO is the folder tests/golden/nano")
}

struct World {
    ctx: Context,
    config: Config,
    model: Model,
    data: Dataset,
}

fn world(ctx: Context) -> World {
    let model = Model::load(&ctx, &nano(), None).unwrap();
    let mut config = Config::new(&ctx).unwrap();
    config.set_int(sys::AMMPL_OPT_EPOCHS, 2).unwrap();
    config.set("batch", "2").unwrap();
    config.set("augment", "none").unwrap();
    let mut data = Dataset::new(&ctx, &NAMES).unwrap();
    for k in 0..6usize {
        let rgb: Vec<u8> = (0..20 * 17 * 3usize).map(|i| ((i * 37 + k * k * 11 + i / 60 * k) % 251) as u8).collect();
        data.add_image(&Image::from_pixels(&ctx, &rgb, 20, 17).unwrap(), k % 3).unwrap();
    }
    World { ctx, config, model, data }
}

fn pixels(w: &World, i: usize) -> Vec<f32> {
    w.model.preprocess(&w.data.load_image(i).unwrap()).unwrap()
}

#[test]
fn trains_and_stops() {
    let w = world(Context::new().unwrap());
    let mut prompt = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, Some(&w.config)).unwrap();
    let before = prompt.tensor("ctx").unwrap();
    let mut session = Session::new(&w.model, None).unwrap();
    let mut losses = Vec::new();
    let outcome = session.train(&mut prompt, &w.data, Some(&w.config), |p| {
        losses.push(p.loss);
        true
    });
    assert_eq!(outcome.unwrap(), Outcome::Done);
    assert_eq!(losses.len(), 6);
    assert!(prompt.tensor("ctx").unwrap() != before);
    assert_eq!(session.train(&mut prompt, &w.data, Some(&w.config), |_| false).unwrap(), Outcome::Cancelled);
    let (metrics, predicted) = session.evaluate(&prompt, &w.data, None).unwrap();
    let right = (0..6).filter(|&i| w.data.label(i) == Some(predicted[i] as usize)).count();
    assert_eq!((metrics.samples, metrics.correct), (6, right as u64));
}

#[test]
fn a_panic_in_a_callback_comes_out_of_train() {
    let w = world(Context::new().unwrap());
    let mut prompt = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, Some(&w.config)).unwrap();
    let mut session = Session::new(&w.model, None).unwrap();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        session.train(&mut prompt, &w.data, Some(&w.config), |p| if p.step == 1 { panic!("enough") } else { true })
    }));
    assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "enough");
    session.predict(&prompt, &pixels(&w, 0)).unwrap();
    let one = session.plan(&prompt, 1, sys::AMMPL_PLAN_ACCUMULATE).unwrap();
    assert!(session.plan(&prompt, 9, sys::AMMPL_PLAN_ACCUMULATE).unwrap() > one && one > 0);
}

#[test]
fn gradients_add_up_and_step() {
    let w = world(Context::new().unwrap());
    let mut prompt = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, Some(&w.config)).unwrap();
    let mut session = Session::new(&w.model, None).unwrap();
    let mut optimizer = Optimizer::new(&prompt, Some(&w.config)).unwrap();
    let all: Vec<f32> = (0..2).flat_map(|i| pixels(&w, i)).collect();
    let whole =
        session.accumulate(&mut prompt, &Batch { pixels: &all, labels: &[0, 1], ..Default::default() }).unwrap();
    let gradient = prompt.gradient("ctx").unwrap();
    assert!(gradient.iter().any(|&g| g != 0.0));
    prompt.zero_gradients().unwrap();
    assert!(prompt.gradient("ctx").unwrap().iter().all(|&g| g == 0.0));
    let mut parts = 0.0;
    for i in 0..2usize {
        let (one, id) = (pixels(&w, i), [i as u32]);
        let batch = Batch { pixels: &one, labels: &[i as i32], image_ids: &id, weight: 0.5, ..Default::default() };
        parts += session.accumulate(&mut prompt, &batch).unwrap();
    }
    assert!((parts - whole).abs() < 1e-6 * whole.abs());
    for (a, b) in prompt.gradient("ctx").unwrap().iter().zip(&gradient) {
        assert!((a - b).abs() <= 1e-6 + 1e-4 * b.abs(), "{a} {b}");
    }
    let before = prompt.tensor("ctx").unwrap();
    optimizer.step(&mut prompt).unwrap();
    assert!(prompt.tensor("ctx").unwrap() != before);
    let mut other = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, None).unwrap();
    assert_eq!(optimizer.step(&mut other).unwrap_err().status, sys::AMMPL_E_ARGUMENT);
}

/// Two replicas that take a picture each and add up their gradients learn what one does that takes both; DPT, whose auxiliary
/// loss is a mean over the rows of all of them.
#[test]
fn replicas() {
    let w = world(Context::new().unwrap());
    let mut config = Config::new(&w.ctx).unwrap();
    config.set("top_k", "2").unwrap();
    config.set("guidance_epochs", "1").unwrap();
    let all: Vec<f32> = (0..2).flat_map(|i| pixels(&w, i)).collect();
    let mut results = Vec::new();
    for parts in [1, 2] {
        let mut session = Session::new(&w.model, None).unwrap();
        let mut prompt = Prompt::new(&w.model, sys::AMMPL_METHOD_DPT, &NAMES, Some(&config)).unwrap();
        let mut optimizer = Optimizer::new(&prompt, Some(&config)).unwrap();
        assert_eq!(session.aux_rows(&prompt, &all, &[0]).unwrap_err().status, sys::AMMPL_E_ARGUMENT);
        for step in 0..3i64 {
            let mut rows = 0;
            for (one, label) in all.chunks(all.len() / parts).zip([0, 1].chunks(2 / parts)) {
                rows += session.aux_rows(&prompt, one, label).unwrap();
            }
            prompt.zero_gradients().unwrap();
            for (one, labels) in all.chunks(all.len() / parts).zip([0, 1].chunks(2 / parts)) {
                let aux_weight = 1.0 / rows.max(1) as f64;
                let batch = Batch { pixels: one, labels, weight: 0.5, epoch: 0, aux_weight, ..Default::default() };
                session.accumulate(&mut prompt, &batch).unwrap();
            }
            assert!(rows > 0);
            optimizer.set_step(0, step, 3).unwrap();
            optimizer.step(&mut prompt).unwrap();
        }
        assert_eq!(optimizer.set_step(0, -1, 3).unwrap_err().status, sys::AMMPL_E_RANGE);
        results.push(prompt.tensors().unwrap().iter().map(|t| prompt.tensor(&t.name).unwrap()).collect::<Vec<_>>());
    }
    for (a, b) in results[0].iter().zip(&results[1]) {
        let top = a.iter().fold(1e-6f32, |top, x| top.max(x.abs()));
        assert!(a.iter().zip(b).all(|(x, y)| (x - y).abs() <= 1e-5 * top)); // measured: 1e-7
    }
    let other = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, None).unwrap();
    assert_eq!(Session::new(&w.model, None).unwrap().aux_rows(&other, &all, &[0, 1]).unwrap(), 0);
    assert_eq!(unsafe { sys::ammpl_prompt_conditioning(other.as_raw()) }, 2 | 1);
    // what is not wrapped
}

fn numbers(count: usize, k: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 29 + k * k) % 23) as f32 / 23.0 - 0.5).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(&x, &y)| x as f64 * y as f64).sum()
}

/// The gradient of `loss` at x, along a direction, against differences of it.
fn check_gradient(x: &[f32], gradient: &[f32], what: &str, mut loss: impl FnMut(&[f32]) -> f64) {
    let way = numbers(x.len(), 11);
    let h = 0.005f32;
    let mut at = |h: f32| loss(&x.iter().zip(&way).map(|(x, w)| x + h * w).collect::<Vec<_>>());
    let difference = (at(h) - at(-h)) / (2.0 * h as f64);
    let told = dot(gradient, &way);
    // Measured: 5e-4 of it.
    assert!(told != 0.0 && (told - difference).abs() < 1e-2 * told.abs().max(0.01), "{what}: {told} {difference}");
}

/// A picture through the tower, with prompts of its own before block 0 and others before the last, and a loss that reads tokens.
#[test]
fn image_tower_and_back() {
    let w = world(Context::new().unwrap());
    let mut tape = Tape::new(&w.model, None).unwrap();
    let (n, width, last) =
        (2, w.model.image_width(), w.model.get_int(sys::AMMPL_QUERY_IMAGE_LAYERS).unwrap() as i32 - 1);
    let pixels: Vec<f32> = (0..n).flat_map(|i| pixels(&w, i)).collect();
    let (own, both) = (numbers(n * 3 * width, 2), numbers(2 * width, 3));
    let (d, dtokens) = (numbers(n * w.model.embed_width(), 4), numbers(n * (w.model.image_rows() + 3) * width, 5));
    let loss = |tape: &mut Tape, pixels: &[f32], own: &[f32], both: &[f32], record| {
        tape.begin_pixels(pixels, record).unwrap();
        tape.insert(0, own, true, true).unwrap();
        tape.run(last).unwrap();
        let read = dot(&tape.tokens().unwrap(), &dtokens);
        tape.insert(last, both, false, false).unwrap();
        read + dot(&tape.finish().unwrap(), &d)
    };
    loss(&mut tape, &pixels, &own, &both, Record::All);
    assert_eq!(tape.backward(Some(&d[1..])).unwrap_err().status, sys::AMMPL_E_SHAPE);
    assert_eq!(tape.seed(0, &dtokens[1..]).unwrap_err().status, sys::AMMPL_E_SHAPE);
    tape.seed(0, &dtokens).unwrap();
    tape.backward(Some(&d)).unwrap();
    assert_eq!(tape.backward(Some(&d)).unwrap_err().status, sys::AMMPL_E_STATE);
    let [of_pixels, of_own, of_both] =
        [Gradient::Pixels, Gradient::Prompt(0), Gradient::Prompt(1)].map(|of| tape.gradient(of).unwrap());
    assert_eq!(tape.gradient(Gradient::Prompt(2)).unwrap_err().status, sys::AMMPL_E_RANGE);
    assert_eq!(tape.gradient(Gradient::Prefix).unwrap_err().status, sys::AMMPL_E_STATE);
    check_gradient(&pixels, &of_pixels, "pixels", |x| loss(&mut tape, x, &own, &both, Record::Nothing));
    check_gradient(&own, &of_own, "own prompts", |x| loss(&mut tape, &pixels, x, &both, Record::Nothing));
    check_gradient(&both, &of_both, "shared prompts", |x| loss(&mut tape, &pixels, &own, x, Record::Nothing));

    // From the tokens before the last block on, all is as before.
    tape.begin_pixels(&pixels, Record::Nothing).unwrap();
    tape.run(last).unwrap();
    let tokens = tape.tokens().unwrap();
    let whole = tape.finish().unwrap();
    tape.begin_tokens(&tokens, last, Record::All).unwrap();
    assert_eq!(tape.finish().unwrap(), whole);
    tape.backward(Some(&d)).unwrap();
    assert_eq!(tape.gradient(Gradient::Rows).unwrap().len(), tokens.len());
    assert_eq!(tape.begin_tokens(&tokens[1..], last, Record::All).unwrap_err().status, sys::AMMPL_E_SHAPE);
    assert_eq!(tape.begin_pixels(&pixels[1..], Record::All).unwrap_err().status, sys::AMMPL_E_SHAPE);
    assert_eq!(tape.begin_pixels(&[], Record::All).unwrap_err().status, sys::AMMPL_E_ARGUMENT);
}

/// Texts of two lengths behind a prefix, and a cross-entropy: the way back to every input.
#[test]
fn text_tower_loss_and_back() {
    let w = world(Context::new().unwrap());
    let mut session = Session::new(&w.model, None).unwrap();
    let mut tape = Tape::new(&w.model, None).unwrap();
    let width = w.model.text_width();
    let (x, labels, lengths) = (numbers(2 * w.model.embed_width(), 6), [1, 0], [3, 2]);
    let (rows, prefix, prompt) =
        (session.embed_tokens(&[3, 4, 5, 6, 7, 0]).unwrap(), numbers(2 * width, 7), numbers(width, 8));
    let mut loss = |tape: &mut Tape, rows: &[f32], prefix: &[f32], prompt: &[f32], record| {
        tape.begin_text(&TextInput { record, n: 2, rows, lengths: &lengths, prefix, slots: (1, 1) }).unwrap();
        tape.insert(1, prompt, false, false).unwrap();
        let z = tape.finish().unwrap();
        let logits = session.similarity(&x, &z).unwrap();
        let (loss, dlogits) = session.cross_entropy(&logits, &labels, 0.0).unwrap();
        (loss, session.similarity_backward(&x, &z, &dlogits).unwrap().1)
    };
    let (_, dz) = loss(&mut tape, &rows, &prefix, &prompt, Record::All);
    tape.backward(Some(&dz)).unwrap();
    let [of_rows, of_prefix, of_prompt] =
        [Gradient::Rows, Gradient::Prefix, Gradient::Prompt(0)].map(|of| tape.gradient(of).unwrap());
    assert!(of_rows[5 * width..].iter().all(|&g| g == 0.0), "zero behind a length");
    check_gradient(&rows, &of_rows, "rows", |y| loss(&mut tape, y, &prefix, &prompt, Record::Nothing).0);
    check_gradient(&prefix, &of_prefix, "prefix", |y| loss(&mut tape, &rows, y, &prompt, Record::Nothing).0);
    check_gradient(&prompt, &of_prompt, "prompt", |y| loss(&mut tape, &rows, &prefix, y, Record::Nothing).0);

    let good = TextInput { n: 2, rows: &rows, ..TextInput::default() };
    let status = |tape: &mut Tape, input: TextInput| tape.begin_text(&input).unwrap_err().status;
    assert_eq!(status(&mut tape, TextInput { n: 0, ..good }), sys::AMMPL_E_SHAPE);
    assert_eq!(status(&mut tape, TextInput { n: usize::MAX / width + 1, ..good }), sys::AMMPL_E_SHAPE);
    assert_eq!(status(&mut tape, TextInput { lengths: &[1], ..good }), sys::AMMPL_E_SHAPE);
    assert_eq!(status(&mut tape, TextInput { prefix: &prefix[1..], ..good }), sys::AMMPL_E_SHAPE);
    assert_eq!(status(&mut tape, TextInput { lengths: &[1, 9], ..good }), sys::AMMPL_E_RANGE);
    assert_eq!(tape.finish().unwrap_err().status, sys::AMMPL_E_STATE); // that ended the pass before
    assert_eq!(session.similarity(&x, &x[1..]).unwrap_err().status, sys::AMMPL_E_SHAPE);
    assert_eq!(session.similarity_backward(&x, &x, &[0.0]).unwrap_err().status, sys::AMMPL_E_SHAPE);
    assert_eq!(session.cross_entropy(&x, &[], 0.0).unwrap_err().status, sys::AMMPL_E_SHAPE);
    assert_eq!(session.cross_entropy(&x, &[0, 9999], 0.0).unwrap_err().status, sys::AMMPL_E_LABEL);
    assert_eq!(session.embed_tokens(&[-1]).unwrap_err().status, sys::AMMPL_E_RANGE);
    tape.begin_text(&good).unwrap();
    assert_eq!(tape.insert(0, &prompt[1..], false, false).unwrap_err().status, sys::AMMPL_E_SHAPE);

    // A tape holds its model.
    let World { model, .. } = w;
    drop(model);
    drop(session);
    assert!(tape.finish().is_ok());
}

#[test]
fn errors_have_status_and_sentence() {
    let w = world(Context::new().unwrap());
    let nowhere = Context::builder().backends(Some("/")).build().unwrap().find_device("no-such").err().unwrap();
    assert_eq!(nowhere.status, sys::AMMPL_E_BACKEND);
    assert!(nowhere.message.contains("no-such"), "{}", nowhere.message);
    let missing = Model::load(&w.ctx, "/no/such/model", None).err().unwrap();
    assert_eq!(missing.status, sys::AMMPL_E_IO);
    assert!(missing.to_string().contains("/no/such/model"));
    let mut config = Config::new(&w.ctx).unwrap();
    assert!(config.set("epoch", "3").unwrap_err().message.contains("epochs"));
    assert_eq!(config.set("epochs", "3\0").unwrap_err().status, sys::AMMPL_E_ARGUMENT);
    assert_eq!(Image::decode(&w.ctx, b"\xff\xd8\xff no JPEG").err().unwrap().status, sys::AMMPL_E_IMAGE);
    let prompt = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, None).unwrap();
    assert_eq!(prompt.tensor("nothing").unwrap_err().status, sys::AMMPL_E_RANGE);
    assert_eq!(
        Session::new(&w.model, None).unwrap().predict(&prompt, &[0.0; 7]).unwrap_err().status,
        sys::AMMPL_E_ARGUMENT
    );
}

#[test]
fn one_prompt_many_threads() {
    let w = world(Context::builder().threads(2).build().unwrap());
    let prompt = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, Some(&w.config)).unwrap();
    let alone: Vec<_> =
        (0..6).map(|i| Session::new(&w.model, None).unwrap().predict(&prompt, &pixels(&w, i)).unwrap()).collect();
    thread::scope(|scope| {
        for k in 0..4 {
            let (w, prompt, alone) = (&w, &prompt, &alone);
            scope.spawn(move || {
                let mut session = Session::new(&w.model, None).unwrap();
                for i in (0..6).map(|i| (i + k) % 6) {
                    assert_eq!(session.predict(prompt, &pixels(w, i)).unwrap(), alone[i]);
                }
            });
        }
    });
}

/// Whatever is dropped first, everything is given back, and the log is called as long as anything lives.
#[test]
fn any_order_of_drops() {
    let lines = Arc::new(AtomicUsize::new(0));
    let counter = lines.clone();
    let ctx = Context::builder()
        .log(sys::AMMPL_LEVEL_ERROR, move |_, _| {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .build()
        .unwrap();
    let (empty, _) = ctx.memory();
    let w = world(ctx);
    let prompt = Prompt::new(&w.model, sys::AMMPL_METHOD_AMMPL, &NAMES, None).unwrap();
    let mut session = Session::new(&w.model, None).unwrap();
    let picture = pixels(&w, 0);
    assert!(w.ctx.memory().0 > empty);
    let World { ctx, config, model, data } = w;
    drop(model);
    drop(config);
    drop(data);
    session.predict(&prompt, &picture).unwrap();
    drop(session);
    drop(prompt);
    assert!(ctx.memory().0 <= empty); // less where a thread had not started yet
    let mut data = Dataset::new(&ctx, &NAMES).unwrap();
    drop(ctx);
    assert_eq!(lines.load(Ordering::SeqCst), 0);
    data.add_file("x.png", 77).unwrap_err();
    assert_eq!(lines.load(Ordering::SeqCst), 1);
    assert_eq!(Arc::strong_count(&lines), 2);
    drop(data);
    assert_eq!(Arc::strong_count(&lines), 1);
}
