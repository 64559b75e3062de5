//! Logs: defmt's macros with the feature `defmt`, otherwise nothing.

macro_rules! info {
    ($text:literal $(, $value:expr)* $(,)?) => {{
        #[cfg(feature = "defmt")]
        defmt::info!($text $(, $value)*);
        #[cfg(not(feature = "defmt"))]
        let _ = ($(&$value,)*);
    }};
}

/// `$value` is shown as its `Display`.
macro_rules! warning {
    ($text:literal, $value:expr) => {{
        #[cfg(feature = "defmt")]
        defmt::warn!($text, defmt::Display2Format($value));
        #[cfg(not(feature = "defmt"))]
        let _ = $value;
    }};
}

/// `$value` is shown as its `Debug`.
macro_rules! debugged {
    ($text:literal, $value:expr) => {{
        #[cfg(feature = "defmt")]
        defmt::warn!($text, defmt::Debug2Format($value));
        #[cfg(not(feature = "defmt"))]
        let _ = $value;
    }};
}

pub(crate) use {debugged, info, warning};
