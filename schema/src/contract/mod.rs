//! What every backend must do: ordinary functions that both backends run, one for each sentence.

pub mod index;
