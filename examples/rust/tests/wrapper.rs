//! The safe wrapper on the nano model: what it gives back, refuses and lets pass between threads.
use ammpl::{sys, Batch, Config, Context, Dataset, Image, Model, Optimizer, Outcome, Prompt, Session};
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

#[test]
fn errors_have_status_and_sentence() {
    let w = world(Context::new().unwrap());
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
