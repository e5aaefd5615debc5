import KernelTable

public enum Library {
    /// As in include/losses.h; a test holds the two together.
    public static let version: StaticString = "0.1.0"
}
