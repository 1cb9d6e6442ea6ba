//! ammpl [--backend NAME] [--backend-dir DIR] CLIP_FOLDER PHOTOS OUT.safetensors: learns the classes of PHOTOS/train (a folder each), saves
//! that, and names the pictures of PHOTOS/test with two threads; on the CPU, or with --backend cuda on a GPU.
use ammpl::{sys, Context, Dataset, Model, Outcome, Prompt, Session};
use std::process::ExitCode;
use std::thread;

fn main() -> ExitCode {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = option(&mut arguments, "--backend-dir");
    let backend = option(&mut arguments, "--backend").unwrap_or_else(|| "cpu".into());
    let done = match arguments.as_slice() {
        [clip, photos, out] => run(&backend, folder.as_deref(), clip, photos, out),
        _ => {
            eprintln!("usage: ammpl [--backend NAME] [--backend-dir DIR] CLIP_FOLDER PHOTOS OUT.safetensors");
            return ExitCode::from(2);
        }
    };
    if let Err(e) = done {
        eprintln!("{e}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Takes `NAME VALUE` out of the arguments.
fn option(arguments: &mut Vec<String>, name: &str) -> Option<String> {
    let at = arguments.iter().position(|a| a == name).filter(|at| at + 1 < arguments.len())?;
    arguments.drain(at..at + 2).nth(1)
}

fn run(backend: &str, folder: Option<&str>, clip: &str, photos: &str, out: &str) -> ammpl::Result<()> {
    let builder = Context::builder().log(sys::AMMPL_LEVEL_WARN, |_, line| eprintln!("{line}"));
    let ctx = if backend == "cpu" { builder } else { builder.backends(folder) }.build()?;
    let model = Model::load_on(&ctx.find_device(backend)?, clip, None)?;
    let train = Dataset::open_folder(&ctx, photos, "train")?;
    let mut prompt = Prompt::new(&model, sys::AMMPL_METHOD_AMMPL, &train.class_names(), None)?;
    let outcome = Session::new(&model, None)?.train(&mut prompt, &train, None, |p| {
        if p.epoch_end != 0 {
            println!("epoch {} of {}: loss {:.4}", p.epoch + 1, p.epochs, p.epoch_loss);
        }
        true
    })?;
    assert_eq!(outcome, Outcome::Done);
    prompt.save(out, true)?;

    // The model, the prompt and the data are read by both threads at once; each has a session of its own.
    let test = Dataset::open_folder(&ctx, photos, "test")?;
    let names = prompt.class_names();
    let answers = thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|first| {
                let (model, prompt, test) = (&model, &prompt, &test);
                scope.spawn(move || -> ammpl::Result<Vec<(usize, usize)>> {
                    let mut session = Session::new(model, None)?;
                    (first..test.len())
                        .step_by(2)
                        .map(|i| {
                            let logits = session.predict(prompt, &model.preprocess(&test.load_image(i)?)?)?;
                            let best =
                                (0..logits.len()).fold(0, |best, c| if logits[c] > logits[best] { c } else { best });
                            Ok((i, best))
                        })
                        .collect()
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().expect("no panic")).collect::<ammpl::Result<Vec<_>>>()
    })?;
    let mut answers: Vec<_> = answers.into_iter().flatten().collect();
    answers.sort();
    let right = answers.iter().filter(|(i, best)| test.label(*i) == Some(*best)).count();
    for (i, best) in &answers {
        println!("picture {i}: {}", names[*best]);
    }
    println!("{right} of {} right", test.len());
    Ok(())
}
