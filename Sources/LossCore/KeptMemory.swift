import CSystem
import KernelTable

/// Memory to compute in, kept from call to call: fresh pages cost as much as what is computed in them.
///
/// Blocks wait in a few places, from which callers take them and to which they bring them back, without a lock. More callers
/// than that at once, and blocks above the limit, go to the system.
enum KeptMemory {
    private static let places = 4
    private static let largest = 64 << 20
    /// A block's size stands in front of what the caller sees; a cache line keeps that aligned.
    private static let header = 64
    nonisolated(unsafe) private static let waiting: UnsafeMutablePointer<Int64> = {
        let waiting = UnsafeMutablePointer<Int64>.allocate(capacity: places)
        waiting.initialize(repeating: 0, count: places)
        return waiting
    }()

    /// At least so many bytes, at a multiple of 64, with anything in them.
    static func take(_ bytes: Int) -> UnsafeMutableRawPointer? {
        for place in 0..<places {
            guard let block = block(csystem_exchange(waiting + place, 0)) else { continue }
            if block.load(as: Int.self) >= bytes { return block + header }
            free(block)
            break  // A larger one takes its place.
        }
        let huge = 1 << 21
        let alignment = bytes > 4 * huge ? huge : 64
        var block: UnsafeMutableRawPointer?
        guard bytes <= Int.max - header, posix_memalign(&block, alignment, bytes + header) == 0, let block else {
            return nil
        }
        if alignment == huge { csystem_huge_pages(block, UInt(bytes)) }
        block.storeBytes(of: bytes, as: Int.self)
        return block + header
    }

    /// The same, for what a call computes in.
    static func scratch(_ bytes: Int) throws(LossError) -> UnsafeMutableRawPointer {
        guard let memory = take(bytes) else {
            throw LossError(.outOfMemory, "no memory for \(bytes) bytes of scratch")
        }
        return memory
    }

    static func giveBack(_ memory: UnsafeMutableRawPointer) {
        let block = memory - header
        if block.load(as: Int.self) <= largest {
            let bits = Int64(Int(bitPattern: block))
            for place in 0..<places where csystem_replace(waiting + place, 0, bits) != 0 { return }
        }
        free(block)
    }

    /// Everything that waits goes back to the system.
    static func release() {
        for place in 0..<places { free(block(csystem_exchange(waiting + place, 0))) }
    }

    private static func block(_ bits: Int64) -> UnsafeMutableRawPointer? {
        UnsafeMutableRawPointer(bitPattern: Int(bits))
    }
}
