//! Arguments by position or by name, as Python takes them.

use minijinja::value::{Kwargs, Rest};
use minijinja::{Error, ErrorKind, Value};

/// The arguments called `names`, given in this order or by name, as in Python.
pub(in super::super) fn arguments<const N: usize>(
    names: [&str; N],
    Rest(positional): Rest<Value>,
    named: &Kwargs,
) -> Result<[Option<Value>; N], Error> {
    if positional.len() > N {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let mut arguments = [const { None }; N];
    let mut positional = positional.into_iter();
    for (argument, name) in arguments.iter_mut().zip(names) {
        *argument = match positional.next() {
            Some(value) => Some(value),
            None => named.get::<Option<Value>>(name)?,
        };
    }
    named.assert_all_used()?;
    Ok(arguments)
}

pub(super) fn is_true(flag: Option<Value>) -> bool {
    flag.is_some_and(|flag| flag.is_true())
}

/// The arguments that were given, all by name.
pub(super) fn by_name<const N: usize>(names: [&str; N], given: [Option<Value>; N]) -> Kwargs {
    let named = names.into_iter().zip(given);
    named
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
}
