//! The towers as differentiable functions: a pass through one, and its way back.
use crate::context::{raw_config, Config, Shared};
use crate::error::{argument, check, shape, Result};
use crate::model::Model;
use crate::sys;
use std::mem::size_of;
use std::ptr;
use std::sync::Arc;

/// What a pass keeps for the way back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Record {
    Nothing,
    #[default]
    All,
    /// Of inserted prompts only: blocks below the first of them are not recorded.
    Prompts,
}

/// `n` sequences of equally many places, rows [n, L, l].
#[derive(Clone, Copy, Default)]
pub struct TextInput<'a> {
    pub record: Record,
    pub n: usize,
    pub rows: &'a [f32],
    /// [n] rows that count; empty: all of them.
    pub lengths: &'a [i32],
    /// [S, l] rows that all sequences begin with.
    pub prefix: &'a [f32],
    /// Place of the first slot, the prefix counted, and how many there are.
    pub slots: (usize, usize),
}

/// Whose gradient is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gradient {
    /// Of a text's rows, or of the tokens that images were begun from.
    Rows,
    Prefix,
    Pixels,
    /// Of insert number 0, 1...
    Prompt(usize),
}

/// What the pass was given: what comes out must have room, and what goes in the right size.
#[derive(Default)]
struct Pass {
    image: bool,
    n: usize,
    width: usize,
    /// In a sequence, without the slots of images.
    places: usize,
    /// The block to be run next.
    at: i32,
    rows: usize,
    prefix: usize,
    /// Block, tokens, numbers of every insert.
    inserts: Vec<(i32, usize, usize)>,
}

/// Memory for one pass at a time, for one thread on one model.
pub struct Tape {
    raw: *mut sys::ammpl_tape,
    embed: usize,
    text_width: usize,
    image_width: usize,
    image_rows: usize,
    pixels: usize,
    pass: Pass,
    _shared: Arc<Shared>,
}

unsafe impl Send for Tape {}

impl Drop for Tape {
    fn drop(&mut self) {
        unsafe { sys::ammpl_tape_destroy(self.raw) }
    }
}

impl Record {
    fn raw(self) -> i32 {
        match self {
            Record::Nothing => sys::AMMPL_RECORD_NONE,
            Record::All => sys::AMMPL_RECORD_ALL,
            Record::Prompts => sys::AMMPL_RECORD_PROMPTS,
        }
    }
}

impl Tape {
    pub fn new(model: &Model, config: Option<&Config>) -> Result<Tape> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_tape_create(model.raw, raw_config(config), &mut raw) })?;
        Ok(Tape {
            raw,
            embed: model.embed_width(),
            text_width: model.text_width(),
            image_width: model.image_width(),
            image_rows: model.image_rows(),
            pixels: model.pixel_count(),
            pass: Pass::default(),
            _shared: model.shared.clone(),
        })
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_tape {
        self.raw
    }

    pub fn begin_text(&mut self, input: &TextInput) -> Result<()> {
        let width = self.text_width;
        let places = whole(input.rows.len(), input.n.checked_mul(width), "rows")?;
        let prefix_rows = whole(input.prefix.len(), Some(width), "prefix")?;
        if !(input.lengths.is_empty() || input.lengths.len() == input.n) {
            return Err(shape(format!("{} sequences with {} lengths", input.n, input.lengths.len())));
        }
        let mut raw: sys::ammpl_text_input = unsafe { std::mem::zeroed() };
        raw.struct_size = size_of::<sys::ammpl_text_input>() as u32;
        raw.record = input.record.raw();
        (raw.n, raw.L, raw.prefix_rows) = (input.n, places, prefix_rows);
        raw.rows = input.rows.as_ptr();
        raw.length = if input.lengths.is_empty() { ptr::null() } else { input.lengths.as_ptr() };
        raw.prefix = input.prefix.as_ptr();
        (raw.slot_first, raw.slots) = input.slots;
        check(unsafe { sys::ammpl_tape_begin_text(self.raw, &raw) })?;
        self.pass = Pass {
            n: input.n,
            width,
            places: prefix_rows + places,
            rows: input.rows.len(),
            prefix: input.prefix.len(),
            ..Pass::default()
        };
        Ok(())
    }

    /// Pixels [n, 3, R, R].
    pub fn begin_pixels(&mut self, pixels: &[f32], record: Record) -> Result<()> {
        let n = whole(pixels.len(), Some(self.pixels), "pixels")?;
        self.begin_image(n, pixels, &[], 0, record)
    }

    /// Tokens [n, 1 + P, W] as an earlier pass had them before `block`.
    pub fn begin_tokens(&mut self, tokens: &[f32], block: i32, record: Record) -> Result<()> {
        let n = whole(tokens.len(), self.image_rows.checked_mul(self.image_width), "tokens")?;
        self.begin_image(n, &[], tokens, block, record)
    }

    fn begin_image(&mut self, n: usize, pixels: &[f32], tokens: &[f32], block: i32, record: Record) -> Result<()> {
        let pointer = |x: &[f32]| if x.is_empty() { ptr::null() } else { x.as_ptr() };
        let mut raw: sys::ammpl_image_input = unsafe { std::mem::zeroed() };
        raw.struct_size = size_of::<sys::ammpl_image_input>() as u32;
        (raw.record, raw.n, raw.block) = (record.raw(), n, block);
        (raw.pixels, raw.tokens) = (pointer(pixels), pointer(tokens));
        check(unsafe { sys::ammpl_tape_begin_image(self.raw, &raw) })?;
        self.pass = Pass {
            image: true,
            n,
            width: self.image_width,
            places: self.image_rows,
            at: block,
            rows: tokens.len(),
            ..Pass::default()
        };
        Ok(())
    }

    /// Prompt tokens [count, D] for all sequences, or [n, count, D] `per_sequence`; empty: no slots from there on (images).
    pub fn insert(&mut self, block: i32, prompt: &[f32], per_sequence: bool, before_ln: bool) -> Result<()> {
        let width = if per_sequence { self.pass.n * self.pass.width } else { self.pass.width };
        let count = if prompt.is_empty() { 0 } else { whole(prompt.len(), Some(width), "prompt tokens")? };
        check(unsafe {
            sys::ammpl_tape_insert(self.raw, block, prompt.as_ptr(), count, per_sequence.into(), before_ln.into())
        })?;
        self.pass.inserts.push((block, count, prompt.len()));
        Ok(())
    }

    pub fn run(&mut self, block: i32) -> Result<()> {
        check(unsafe { sys::ammpl_tape_run(self.raw, block) })?;
        self.pass.at = block;
        Ok(())
    }

    /// The tokens before the block to be run next: text [n, S + L, l], images [n, 1 + P + slots, W].
    pub fn tokens(&mut self) -> Result<Vec<f32>> {
        let pass = &self.pass;
        let last = pass.inserts.iter().filter(|(block, ..)| pass.image && *block < pass.at).max_by_key(|i| i.0);
        let mut out = vec![0.0; pass.n * (pass.places + last.map_or(0, |i| i.1)) * pass.width];
        check(unsafe { sys::ammpl_tape_tokens(self.raw, out.as_mut_ptr(), out.len()) })?;
        Ok(out)
    }

    /// Features [n, E], not normalised.
    pub fn finish(&mut self) -> Result<Vec<f32>> {
        let mut out = vec![0.0; self.pass.n * self.embed];
        check(unsafe { sys::ammpl_tape_finish(self.raw, out.as_mut_ptr(), out.len()) })?;
        Ok(out)
    }

    /// The loss reads what the [`Tape::tokens`] call number `read` gave.
    pub fn seed(&mut self, read: usize, dtokens: &[f32]) -> Result<()> {
        check(unsafe { sys::ammpl_tape_seed(self.raw, read, dtokens.as_ptr(), dtokens.len()) }).map(drop)
    }

    /// From d(loss)/d(features) [n, E]; None: from the seeds alone.
    pub fn backward(&mut self, dfeatures: Option<&[f32]>) -> Result<()> {
        if let Some(d) = dfeatures {
            if d.len() != self.pass.n * self.embed {
                return Err(shape(format!("{} numbers for {} features of {}", d.len(), self.pass.n, self.embed)));
            }
        }
        check(unsafe { sys::ammpl_tape_backward(self.raw, dfeatures.map_or(ptr::null(), <[f32]>::as_ptr)) }).map(drop)
    }

    /// Shaped like what was given.
    pub fn gradient(&mut self, of: Gradient) -> Result<Vec<f32>> {
        let (what, index, count) = match of {
            Gradient::Rows => (sys::AMMPL_GRADIENT_ROWS, 0, self.pass.rows),
            Gradient::Prefix => (sys::AMMPL_GRADIENT_PREFIX, 0, self.pass.prefix),
            Gradient::Pixels => (sys::AMMPL_GRADIENT_PIXELS, 0, self.pass.n * self.pixels),
            Gradient::Prompt(i) => (sys::AMMPL_GRADIENT_PROMPT, i, self.pass.inserts.get(i).map_or(0, |p| p.2)),
        };
        let mut out = vec![0.0; count];
        check(unsafe { sys::ammpl_tape_gradient(self.raw, what, index, out.as_mut_ptr(), out.len()) })?;
        Ok(out)
    }
}

/// How many times `unit` numbers there are.
fn whole(numbers: usize, unit: Option<usize>, what: &str) -> Result<usize> {
    match unit {
        Some(unit) if unit > 0 && numbers % unit == 0 => Ok(numbers / unit),
        _ if numbers == 0 => Err(argument(format!("there are no {what}"))),
        _ => Err(shape(format!("{numbers} numbers are no whole {what}"))),
    }
}
