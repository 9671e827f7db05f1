//! Tones: what a phone says, and what the other one recorded.

use anyhow::{Context, Result, bail};
use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

/// Telephone sample rate (G.711).
const SAMPLE_RATE_HZ: u32 = 8000;
/// A recording is judged in windows of this many samples, 100 ms.
const WINDOW_SAMPLES: usize = 800;
/// How much of a window's power must lie at the frequency for it to count as the tone.
const PURITY_MIN: f64 = 0.7;
/// Below this mean square a window is silence.
const SILENCE_MEAN_SQUARE: f64 = 1000.0;

/// How long a recording is and for how much of it the tone was there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Heard {
    /// Length of the recording, in seconds.
    pub recorded_seconds: f64,
    /// Time during which the wanted tone was nearly all there was, in seconds.
    pub tone_seconds: f64,
}

/// Writes a 16-bit mono WAV file of a sine.
pub fn write_sine(file: &Path, frequency_hz: f64, seconds: u32) -> Result<()> {
    let samples = seconds * SAMPLE_RATE_HZ;
    let data_bytes = samples * 2;
    let mut bytes = Vec::with_capacity(44 + data_bytes as usize);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + data_bytes).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    bytes.extend_from_slice(&SAMPLE_RATE_HZ.to_le_bytes());
    bytes.extend_from_slice(&(SAMPLE_RATE_HZ * 2).to_le_bytes());
    bytes.extend_from_slice(b"\x02\0\x10\0data");
    bytes.extend_from_slice(&data_bytes.to_le_bytes());
    for index in 0..samples {
        let value = 8000.0 * (TAU * frequency_hz * f64::from(index) / f64::from(SAMPLE_RATE_HZ)).sin();
        bytes.extend_from_slice(&(value as i16).to_le_bytes());
    }
    fs::write(file, bytes).with_context(|| format!("write {}", file.display()))
}

/// Listens to a recording.
pub fn listen(file: &Path, frequency_hz: f64) -> Result<Heard> {
    let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
    let samples = samples(&bytes).with_context(|| format!("read {}", file.display()))?;
    Ok(judge(&samples, frequency_hz))
}

/// Listens to samples at 8 kHz.
pub fn judge(samples: &[f64], frequency_hz: f64) -> Heard {
    let windows = samples.chunks_exact(WINDOW_SAMPLES);
    let with_tone = windows.filter(|window| is_tone(window, frequency_hz)).count();
    let seconds = |count: usize| count as f64 / f64::from(SAMPLE_RATE_HZ);
    Heard { recorded_seconds: seconds(samples.len()), tone_seconds: seconds(with_tone * WINDOW_SAMPLES) }
}

/// Goertzel: the share of the window's power that lies at one frequency.
fn is_tone(window: &[f64], frequency_hz: f64) -> bool {
    let coefficient = 2.0 * (TAU * frequency_hz / f64::from(SAMPLE_RATE_HZ)).cos();
    let (mut last, mut before) = (0.0, 0.0);
    let mut energy = 0.0;
    for sample in window {
        let next = sample + coefficient * last - before;
        (before, last) = (last, next);
        energy += sample * sample;
    }
    let count = window.len() as f64;
    let at_frequency = last * last + before * before - coefficient * last * before;
    energy / count > SILENCE_MEAN_SQUARE && 2.0 * at_frequency / (energy * count) > PURITY_MIN
}

/// The samples of a 16-bit mono WAV file, also of one whose writer has not finished it (sizes still zero).
fn samples(bytes: &[u8]) -> Result<Vec<f64>> {
    if bytes.get(..4) != Some(b"RIFF") || bytes.get(8..12) != Some(b"WAVE") {
        bail!("not a WAV file");
    }
    let mut at = 12;
    loop {
        let (Some(id), Some(size)) = (bytes.get(at..at + 4), bytes.get(at + 4..at + 8)) else { bail!("no samples") };
        let size = size.iter().rev().fold(0_usize, |size, byte| size << 8 | usize::from(*byte));
        let body = &bytes[at + 8..];
        if id == b"fmt " && (body.get(2..4) != Some(&[1, 0]) || body.get(14..16) != Some(&[16, 0])) {
            bail!("not 16-bit mono");
        }
        if id == b"data" {
            let body = if size == 0 || size > body.len() { body } else { &body[..size] };
            return Ok(body.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect());
        }
        at += 8 + size + size % 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(frequency_hz: f64, amplitude: f64) -> Vec<f64> {
        (0..8000).map(|index| amplitude * (TAU * frequency_hz * f64::from(index) / 8000.0).sin()).collect()
    }

    #[test]
    fn hears_its_own_tone_and_no_other() {
        let heard = judge(&sine(440.0, 8000.0), 440.0);
        assert!((heard.tone_seconds - 1.0).abs() < 1e-9, "{heard:?}");
        assert_eq!(judge(&sine(440.0, 8000.0), 660.0).tone_seconds, 0.0);
    }

    #[test]
    fn silence_and_noise_are_no_tone() {
        assert_eq!(judge(&sine(440.0, 1.0), 440.0).tone_seconds, 0.0);
        let mut state = 1_u32;
        let noise: Vec<f64> = (0..8000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                f64::from((state >> 16) as i16)
            })
            .collect();
        assert_eq!(judge(&noise, 440.0).tone_seconds, 0.0);
    }

    #[test]
    fn half_a_call_is_half_heard() {
        let mut samples = sine(440.0, 8000.0);
        samples.extend(sine(880.0, 8000.0));
        let heard = judge(&samples, 440.0);
        assert!((heard.tone_seconds - 1.0).abs() < 1e-9 && (heard.recorded_seconds - 2.0).abs() < 1e-9, "{heard:?}");
    }

    #[test]
    fn what_is_written_can_be_read() {
        let file = std::env::temp_dir().join(format!("edgeway-tone-{}.wav", std::process::id()));
        write_sine(&file, 880.0, 2).unwrap();
        let heard = listen(&file, 880.0);
        fs::remove_file(&file).unwrap();
        let heard = heard.unwrap();
        assert!((heard.tone_seconds - 2.0).abs() < 1e-9, "{heard:?}");
    }
}
