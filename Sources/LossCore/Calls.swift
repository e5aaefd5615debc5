import CSystem

/// The calls in flight, so that `fork` can wait until there is none.
///
/// A child has the forking thread alone: what another thread was making at that moment, a lazy global or a type's metadata
/// in a first call, stays half-made and locked there, and the child's first call would wait for it forever.
public enum Calls {
    nonisolated(unsafe) private static var inFlight: Int64 = 0
    nonisolated(unsafe) private static var forks: Int64 = 0

    public static func enter() {
        csystem_add(&inFlight, 1)
        while csystem_load(&forks) != 0 {
            csystem_add(&inFlight, -1)
            Threads.waitForFork()
            csystem_add(&inFlight, 1)
        }
    }

    public static func leave() { csystem_add(&inFlight, -1) }

    /// Keeps calls out and waits for those inside; for a second at most, since one of them may wait for the forking thread
    /// itself, in a runner that needs a lock of the host's.
    static func stop() {
        csystem_add(&forks, 1)
        var turns = 0
        while csystem_load(&inFlight) != 0, turns < 20_000 {
            csystem_sleep_50us()
            turns += 1
        }
    }

    static func resume() { csystem_add(&forks, -1) }

    /// In the child, where nobody else is.
    static func reset() {
        csystem_store(&inFlight, 0)
        csystem_store(&forks, 0)
    }
}
