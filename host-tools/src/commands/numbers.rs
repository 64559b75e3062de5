//! Numbers that people type, each with the range that it must lie in: a value
//! that makes no sense is wrong usage, whatever the other options are.

use std::str::FromStr;

/// A temperature: 0 or more, and finite.
pub(crate) fn temperature(text: &str) -> Result<f32, String> {
    within(text, |value| value >= 0.0, "0 or more")
}

/// A probability: 0 to 1.
pub(crate) fn probability(text: &str) -> Result<f32, String> {
    within(text, |value| (0.0..=1.0).contains(&value), "from 0 to 1")
}

/// A factor that logits are divided by: more than 0.
pub(crate) fn penalty(text: &str) -> Result<f32, String> {
    within(text, |value| value > 0.0, "more than 0; 1 is off")
}

/// A whole number, 0 or more.
pub(crate) fn count<T: FromStr>(text: &str) -> Result<T, String> {
    whole(text, "0 or more")
}

/// A seed: a whole number, 0 or more.
pub(crate) fn seed(text: &str) -> Result<u64, String> {
    whole(
        text,
        "0 or more; leave it out for another seed at every call",
    )
}

fn whole<T: FromStr>(text: &str, range: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("a whole number is wanted, {range}"))
}

fn within(text: &str, fits: impl Fn(f32) -> bool, range: &str) -> Result<f32, String> {
    let wanted = || format!("a number is wanted, {range}");
    let value: f32 = text.parse().map_err(|_| wanted())?;
    if value.is_finite() && fits(value) {
        Ok(value)
    } else {
        Err(wanted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_makes_sense_is_taken() {
        assert_eq!(temperature("0.7"), Ok(0.7));
        assert_eq!(probability("1"), Ok(1.0));
        assert_eq!(penalty("1.1"), Ok(1.1));
        assert_eq!(count("0"), Ok(0_u32));
        assert_eq!(seed("18446744073709551615"), Ok(u64::MAX));
        for text in ["nan", "inf", "-1", "", "x"] {
            assert!(temperature(text).is_err(), "{text}");
            assert!(probability(text).is_err(), "{text}");
            assert!(penalty(text).is_err(), "{text}");
        }
        assert!(probability("2").is_err() && penalty("0").is_err());
        assert!(count::<u32>("-1").unwrap_err().contains("0 or more"));
        assert!(seed("1.5").is_err());
    }
}
