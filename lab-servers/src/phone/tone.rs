//! A test tone in G.711 µ-law, and an ear that recognises it.
//!
//! One packet is 20 ms, 160 samples at 8 kHz, so a discrete Fourier transform over one packet has
//! bins of exactly 50 Hz: a tone at a multiple of 50 Hz falls into one bin, with no window function.

use std::f32::consts::TAU;

/// Samples in one packet: 20 ms at 8 kHz.
pub(crate) const SAMPLES: usize = 160;

/// Width of one bin of [`Ear`].
const BIN_HZ: u32 = 50;

/// The telephone band, in bins: 300 Hz to 3400 Hz.
const BINS: std::ops::RangeInclusive<u32> = 6..=68;

/// Share of a packet's energy its strongest bin must hold to be called a tone.
const PURITY_MIN: f32 = 0.8;

/// Mean square below which a packet is silence.
const SILENCE: f32 = 10_000.0;

/// A sine wave, packet by packet.
pub(crate) struct Tone {
    step: f32,
    phase: f32,
}

impl Tone {
    /// A tone of `hz`, rounded to a multiple of 50 Hz.
    pub(crate) fn new(hz: u32) -> Self {
        let hz = (hz / BIN_HZ * BIN_HZ).max(BIN_HZ);
        Self { step: TAU * hz as f32 / 8_000.0, phase: 0.0 }
    }

    /// The next 20 ms.
    pub(crate) fn next_packet(&mut self) -> [u8; SAMPLES] {
        let mut out = [0; SAMPLES];
        for byte in &mut out {
            *byte = encode((self.phase.sin() * 8_000.0) as i16);
            self.phase = (self.phase + self.step) % TAU;
        }
        out
    }
}

/// µ-law silence.
pub(crate) const SILENT_PACKET: [u8; SAMPLES] = [0xff; SAMPLES];

/// The frequency that dominates one packet, if one does.
pub(crate) fn dominant_hz(packet: &[u8]) -> Option<u32> {
    if packet.len() != SAMPLES {
        return None;
    }
    let samples: Vec<f32> = packet.iter().map(|&byte| f32::from(decode(byte))).collect();
    let energy: f32 = samples.iter().map(|s| s * s).sum();
    if energy / (SAMPLES as f32) < SILENCE {
        return None;
    }
    let strength = |bin: u32| goertzel(&samples, bin);
    let best = BINS.max_by(|&a, &b| strength(a).total_cmp(&strength(b)))?;
    // A pure sine of amplitude A has energy N·A²/2 and a bin power of (N·A/2)².
    let share = strength(best) * 2.0 / (SAMPLES as f32) / energy;
    (share >= PURITY_MIN).then_some(best * BIN_HZ)
}

/// Power of one DFT bin (Goertzel's recurrence).
fn goertzel(samples: &[f32], bin: u32) -> f32 {
    let coefficient = 2.0 * (TAU * bin as f32 / SAMPLES as f32).cos();
    let (mut previous, mut before) = (0.0_f32, 0.0_f32);
    for sample in samples {
        (previous, before) = (sample + coefficient * previous - before, previous);
    }
    previous * previous + before * before - coefficient * previous * before
}

/// ITU-T G.711 µ-law, encode.
fn encode(linear: i16) -> u8 {
    const BIAS: i32 = 0x84;
    const CLIP: i32 = 32_635;
    let sign = if linear < 0 { 0x80 } else { 0 };
    let magnitude = i32::from(linear).abs().min(CLIP) + BIAS;
    let exponent = (7_u32).saturating_sub((magnitude as u32).leading_zeros().saturating_sub(17));
    let mantissa = (magnitude >> (exponent + 3)) & 0x0f;
    !(sign | ((exponent as u8) << 4) | mantissa as u8)
}

/// ITU-T G.711 µ-law, decode.
fn decode(byte: u8) -> i16 {
    let byte = !byte;
    let exponent = (byte >> 4) & 7;
    let magnitude = (((i32::from(byte & 0x0f) << 3) + 0x84) << exponent) - 0x84;
    if byte & 0x80 == 0 { magnitude as i16 } else { -magnitude as i16 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mu_law_round_trips_within_its_step() {
        for linear in (-32_000..32_000_i32).step_by(37) {
            let back = i32::from(decode(encode(linear as i16)));
            assert!((back - linear).abs() <= linear.abs() / 16 + 8, "{linear} became {back}");
        }
        assert_eq!(decode(0xff), 0);
    }

    #[test]
    fn the_ear_names_the_tone_it_hears() {
        for hz in [300, 450, 1_000, 3_400] {
            let mut tone = Tone::new(hz);
            for _ in 0..5 {
                assert_eq!(dominant_hz(&tone.next_packet()), Some(hz));
            }
        }
    }

    #[test]
    fn silence_and_noise_are_no_tone() {
        assert_eq!(dominant_hz(&SILENT_PACKET), None);
        let mut state = 1_u32;
        let noise: Vec<u8> = (0..SAMPLES)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        assert_eq!(dominant_hz(&noise), None);
        assert_eq!(dominant_hz(&[0; 10]), None);
    }
}
