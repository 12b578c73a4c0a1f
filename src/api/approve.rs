//! x

mod fields;
mod form;
mod markdown;
mod page;
#[cfg(test)]
mod tests;
mod words;
