import KernelTable

// What the structs of the C interface have in common, whose types are known to LossCAPI alone.

/// A struct that begins with its size, and may grow at its end from one version to the next.
package typealias Sized = Versioned & BitwiseCopyable

package protocol Versioned {
    /// The sizes that earlier versions gave it. A caller with one of those knows nothing of what came after.
    static var earlierSizes: [Int] { get }
}

extension Versioned {
    /// As long as it has not grown.
    package static var earlierSizes: [Int] { [] }
}

/// The size that a caller gives a struct, if a version of it has had that size. A longer struct is a later version's.
private func size<T: Sized>(_ name: StaticString, _ pointer: UnsafePointer<T>) throws(LossError) -> Int {
    let size = Int(UnsafeRawPointer(pointer).loadUnaligned(as: UInt32.self))
    guard size >= MemoryLayout<T>.size || T.earlierSizes.contains(size), size <= 4096 else {
        throw LossError(.structSize, "\(name): struct_size is \(size); expected \(MemoryLayout<T>.size)")
    }
    return size
}

/// An options struct: `defaults` where the pointer is NULL, and for what an older caller's version lacks. A longer struct of
/// a newer caller is accepted if it asks for nothing that this version lacks.
package func options<T: Sized>(
    _ name: StaticString, _ pointer: UnsafePointer<T>?, _ defaults: T
) throws(LossError) -> T {
    guard let pointer else { return defaults }
    let raw = UnsafeRawPointer(pointer)
    let (size, known) = (try size(name, pointer), MemoryLayout<T>.size)
    guard size > known else {
        var options = defaults
        withUnsafeMutableBytes(of: &options) { $0.baseAddress!.copyMemory(from: raw, byteCount: size) }
        return options
    }
    for byte in known..<size where raw.load(fromByteOffset: byte, as: UInt8.self) != 0 {
        throw LossError(.structSize, "\(name): asks for options that this version (\(known) bytes of them) lacks")
    }
    return raw.loadUnaligned(as: T.self)
}

/// Checks a parts struct before anything is computed.
package func check<T: Sized>(parts: UnsafeMutablePointer<T>?) throws(LossError) {
    if let parts { _ = try size("parts", parts) }
}

/// Fills what the caller's version of a parts struct has, and keeps its size.
package func write<T: Sized>(_ value: T, to parts: UnsafeMutablePointer<T>?) {
    guard let parts else { return }
    let raw = UnsafeMutableRawPointer(parts)
    let size = raw.loadUnaligned(as: UInt32.self)
    withUnsafeBytes(of: value) { raw.copyMemory(from: $0.baseAddress!, byteCount: min($0.count, Int(size))) }
    raw.storeBytes(of: size, as: UInt32.self)
}
