import KernelTable
import XCTest

@testable import LossCore

/// Every instruction set of this processor; one that is missing is printed, and under SEGLOSS_TEST_STRICT only the
/// emulated processors may stand in for it.
let levels: [InstructionSet] = {
    for level in InstructionSet.allCases where !level.isSupported {
        print("note: \(level.name) is not run here: this processor lacks it")
    }
    return InstructionSet.allCases.filter(\.isSupported)
}()

func execution(
    _ level: InstructionSet = levels.last!, threads: Int = 1, nonFinite: NonFinitePolicy = .propagate
) -> Execution {
    Execution(threads: threads, nonFinite: nonFinite, Dispatch(level))
}

/// SplitMix64: the same numbers in every run.
struct Random: RandomNumberGenerator {
    var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }

    mutating func uniform() -> Double { Double.random(in: 0..<1, using: &self) }
}

/// Memory for a tensor, as long as the test holds it.
final class Buffer<Element> {
    let memory: UnsafeMutableBufferPointer<Element>

    init(_ values: [Element]) {
        memory = .allocate(capacity: max(values.count, 1))
        _ = memory.update(fromContentsOf: values)
    }

    deinit { memory.deallocate() }

    var values: [Element] { Array(memory) }

    func tensor(_ name: StaticString, _ type: ElementType, _ shape: [Int], strides: [Int]? = nil, at offset: Int = 0)
        -> Tensor
    {
        try! Tensor(
            name, data: memory.baseAddress! + offset, type: type, shape: Extents(shape),
            strides: strides.map { Extents($0) })
    }
}

/// The inputs of spec/losses.md section 9, 2×6×7, in closed form.
enum Golden {
    static let shape = [2, 6, 7]
    static let k = (0..<84).map(Double.init)
    static let p = k.map { 1 / (1 + exp(-3 * sin(0.37 * $0 + 0.5))) }
    static let y = (0..<84).map { ($0 * $0 + 3 * $0) % 11 < 4 ? 1.0 : 0 }
    static let m = (0..<84).map { $0 % 9 != 4 ? 1.0 : 0 }
    static let t = k.map { 0.5 + 0.4 * cos(0.21 * $0) }
    static let tStar = (0..<84).map { 0.3 + 0.1 * Double($0 % 5) }
    static let tMask = (0..<84).map { $0 % 4 != 1 ? 1.0 : 0 }
    static let b = zip(p, t).map { 1 / (1 + exp(-50 * ($0 - $1))) }
}
