//! Which answers fit, and what they decide.
