/* CXLA is header only; SwiftPM wants a source file in a C target. */
