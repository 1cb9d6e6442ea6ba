//! Inference, gradients and training.
use crate::callback::{run, Callback};
use crate::context::{raw_config, Config, Shared};
use crate::dataset::Dataset;
use crate::error::{argument, check, shape, Result, Strings};
use crate::model::Model;
use crate::prompt::Prompt;
use crate::{sys, Outcome};
use std::mem::size_of;
use std::ptr;
use std::sync::Arc;

pub type Progress = sys::ammpl_progress;
pub type Metrics = sys::ammpl_metrics;

/// One batch for [`Session::accumulate`]: `pixels` [n, 3, R, R] and a label for each.
#[derive(Clone, Copy, Default)]
pub struct Batch<'a> {
    pub pixels: &'a [f32],
    pub labels: &'a [i32],
    /// What keys the random draws; empty: 0, 1, 2...
    pub image_ids: &'a [u32],
    pub seed: u64,
    pub step: u32,
    pub epoch: i64,
    /// Of loss and gradients; 0 means 1/n.
    pub weight: f64,
    /// Of DPT's auxiliary loss; 0 means 1 / rows of this batch ([`Session::aux_rows`]).
    pub aux_weight: f64,
}

/// Scratch memory for one thread on one model.
pub struct Session {
    raw: *mut sys::ammpl_session,
    embed: usize,
    pixels: usize,
    text_width: usize,
    _shared: Arc<Shared>,
}

unsafe impl Send for Session {}

impl Drop for Session {
    fn drop(&mut self) {
        unsafe { sys::ammpl_session_destroy(self.raw) }
    }
}

impl Session {
    pub fn new(model: &Model, config: Option<&Config>) -> Result<Session> {
        let mut raw = ptr::null_mut();
        check(unsafe { sys::ammpl_session_create(model.raw, raw_config(config), &mut raw) })?;
        Ok(Session {
            raw,
            embed: model.embed_width(),
            pixels: model.pixel_count(),
            text_width: model.text_width(),
            _shared: model.shared.clone(),
        })
    }

    /// For functions of [`sys`] that are not wrapped; the object stays this one's.
    pub fn as_raw(&self) -> *mut sys::ammpl_session {
        self.raw
    }

    /// Plain text features, [n, E].
    pub fn encode_texts<S: AsRef<str>>(&mut self, texts: &[S]) -> Result<Vec<f32>> {
        let texts = Strings::new(texts)?;
        let mut out = vec![0.0; texts.list.len() * self.embed];
        check(unsafe {
            sys::ammpl_session_encode_texts(
                self.raw,
                texts.list.as_ptr(),
                texts.list.len(),
                out.as_mut_ptr(),
                out.len(),
            )
        })?;
        Ok(out)
    }

    /// Image features, [n, E]; no prompt: plain CLIP.
    pub fn encode_images(&mut self, prompt: Option<&Prompt>, pixels: &[f32]) -> Result<Vec<f32>> {
        let n = self.pictures(pixels)?;
        let prompt = prompt.map_or(ptr::null(), |p| p.raw as *const _);
        let mut out = vec![0.0; n * self.embed];
        check(unsafe {
            sys::ammpl_session_encode_images(self.raw, prompt, pixels.as_ptr(), n, out.as_mut_ptr(), out.len())
        })?;
        Ok(out)
    }

    /// Bytes that it will hold at most during a call (`sys::AMMPL_PLAN_*`) of n images.
    pub fn plan(&mut self, prompt: &Prompt, n: usize, call: i32) -> Result<u64> {
        let mut bytes = 0;
        check(unsafe { sys::ammpl_session_plan(self.raw, prompt.raw, n, call, &mut bytes) })?;
        Ok(bytes)
    }

    /// Logits, [n, C].
    pub fn predict(&mut self, prompt: &Prompt, pixels: &[f32]) -> Result<Vec<f32>> {
        let n = self.pictures(pixels)?;
        let mut logits = vec![0.0; n * prompt.class_count()];
        check(unsafe {
            sys::ammpl_session_predict(self.raw, prompt.raw, pixels.as_ptr(), n, logits.as_mut_ptr(), logits.len())
        })?;
        Ok(logits)
    }

    /// Adds a batch's gradients to the prompt's; the loss.
    pub fn accumulate(&mut self, prompt: &mut Prompt, batch: &Batch) -> Result<f64> {
        let n = self.pictures(batch.pixels)?;
        if batch.labels.len() != n || !(batch.image_ids.is_empty() || batch.image_ids.len() == n) {
            return Err(argument(format!(
                "{n} pictures, {} labels and {} ids",
                batch.labels.len(),
                batch.image_ids.len()
            )));
        }
        let mut raw: sys::ammpl_batch = unsafe { std::mem::zeroed() };
        raw.struct_size = size_of::<sys::ammpl_batch>() as u32;
        raw.n = n;
        raw.pixels = batch.pixels.as_ptr();
        raw.label = batch.labels.as_ptr();
        raw.image_id = if batch.image_ids.is_empty() { ptr::null() } else { batch.image_ids.as_ptr() };
        (raw.seed, raw.step, raw.epoch, raw.weight) = (batch.seed, batch.step, batch.epoch, batch.weight);
        raw.aux_weight = batch.aux_weight;
        let mut loss = 0.0;
        check(unsafe { sys::ammpl_session_accumulate(self.raw, prompt.raw, &raw, &mut loss, ptr::null_mut()) })?;
        Ok(loss)
    }

    /// Over how many rows DPT's auxiliary loss of these pictures averages; 0 for other methods.
    pub fn aux_rows(&mut self, prompt: &Prompt, pixels: &[f32], labels: &[i32]) -> Result<usize> {
        let n = self.pictures(pixels)?;
        if labels.len() != n {
            return Err(argument(format!("{n} pictures and {} labels", labels.len())));
        }
        let mut rows = 0;
        check(unsafe {
            sys::ammpl_session_aux_rows(self.raw, prompt.raw, pixels.as_ptr(), labels.as_ptr(), n, &mut rows)
        })?;
        Ok(rows)
    }

    /// A whole training run; `go_on` is called after every step, and false stops after it.
    pub fn train(
        &mut self,
        prompt: &mut Prompt,
        data: &Dataset,
        config: Option<&Config>,
        mut go_on: impl FnMut(&Progress) -> bool,
    ) -> Result<Outcome> {
        let mut callback = Callback::new(&mut go_on);
        let status =
            unsafe { sys::ammpl_train(self.raw, prompt.raw, data.raw, raw_config(config), Some(run), callback.user()) };
        let result = check(status); // before the callback can change this thread's sentence
        callback.finish();
        Ok(if result? == sys::AMMPL_CANCELLED { Outcome::Cancelled } else { Outcome::Done })
    }

    /// Accuracy on a data set with the prompt's classes, and the class of each picture (-1: skipped).
    pub fn evaluate(
        &mut self,
        prompt: &Prompt,
        data: &Dataset,
        config: Option<&Config>,
    ) -> Result<(Metrics, Vec<i32>)> {
        let mut metrics: Metrics = unsafe { std::mem::zeroed() };
        metrics.struct_size = size_of::<Metrics>() as u32;
        let mut predicted = vec![-1; data.len()];
        check(unsafe {
            sys::ammpl_session_evaluate(
                self.raw,
                prompt.raw,
                data.raw,
                raw_config(config),
                None,
                ptr::null_mut(),
                predicted.as_mut_ptr(),
                &mut metrics,
            )
        })?;
        Ok((metrics, predicted))
    }

    /// Rows of the token table, [n, l].
    pub fn embed_tokens(&mut self, ids: &[i32]) -> Result<Vec<f32>> {
        let mut out = vec![0.0; ids.len() * self.text_width];
        check(unsafe {
            sys::ammpl_session_embed_tokens(self.raw, ids.as_ptr(), ids.len(), out.as_mut_ptr(), out.len())
        })?;
        Ok(out)
    }

    /// Logits [n, C] of features x [n, E] and z [C, E] of any length.
    pub fn similarity(&mut self, x: &[f32], z: &[f32]) -> Result<Vec<f32>> {
        let (n, classes) = (self.features(x)?, self.features(z)?);
        let mut logits = vec![0.0; n * classes];
        check(unsafe {
            sys::ammpl_session_similarity(
                self.raw,
                x.as_ptr(),
                n,
                z.as_ptr(),
                classes,
                logits.as_mut_ptr(),
                logits.len(),
            )
        })?;
        Ok(logits)
    }

    /// From d(loss)/d(logits) to those of x and z.
    pub fn similarity_backward(&mut self, x: &[f32], z: &[f32], dlogits: &[f32]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (n, classes) = (self.features(x)?, self.features(z)?);
        if dlogits.len() != n * classes {
            return Err(shape(format!("{} numbers for {n} x {classes} logits", dlogits.len())));
        }
        let (mut dx, mut dz) = (vec![0.0; x.len()], vec![0.0; z.len()]);
        check(unsafe {
            sys::ammpl_session_similarity_backward(
                self.raw,
                x.as_ptr(),
                n,
                z.as_ptr(),
                classes,
                dlogits.as_ptr(),
                dx.as_mut_ptr(),
                dz.as_mut_ptr(),
            )
        })?;
        Ok((dx, dz))
    }

    /// The loss of logits [n, C], and its gradient for them; weight 0 means 1/n.
    pub fn cross_entropy(&mut self, logits: &[f32], labels: &[i32], weight: f64) -> Result<(f64, Vec<f32>)> {
        if labels.is_empty() || logits.len() % labels.len() != 0 {
            return Err(shape(format!("{} logits for {} labels", logits.len(), labels.len())));
        }
        let (mut loss, mut dlogits) = (0.0, vec![0.0; logits.len()]);
        check(unsafe {
            sys::ammpl_session_cross_entropy(
                self.raw,
                logits.as_ptr(),
                labels.as_ptr(),
                labels.len(),
                logits.len() / labels.len(),
                weight,
                &mut loss,
                dlogits.as_mut_ptr(),
                dlogits.len(),
            )
        })?;
        Ok((loss, dlogits))
    }

    fn features(&self, x: &[f32]) -> Result<usize> {
        if self.embed == 0 || x.len() % self.embed != 0 {
            return Err(shape(format!("{} numbers are no whole features of {}", x.len(), self.embed)));
        }
        Ok(x.len() / self.embed)
    }

    fn pictures(&self, pixels: &[f32]) -> Result<usize> {
        if self.pixels == 0 || pixels.len() % self.pixels != 0 {
            return Err(argument(format!("{} numbers are no whole pictures of {}", pixels.len(), self.pixels)));
        }
        Ok(pixels.len() / self.pixels)
    }
}
