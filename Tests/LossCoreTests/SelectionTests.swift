import KernelTable
import XCTest

@testable import LossCore

/// The K largest, against a sort that knows the rules: NaN first, ties to the lowest index.
final class SelectionTests: XCTestCase {
    private func byTheRules<T: BinaryFloatingPoint>(_ values: [T]) -> [Int] {
        values.indices.sorted { a, b in
            let x = values[a]
            let y = values[b]
            if x.isNaN != y.isNaN { return x.isNaN }
            if x == y || x.isNaN { return a < b }
            return x > y
        }
    }

    private func check<T: BinaryFloatingPoint>(
        _ values: [T], order: [Int], _ type: ElementType, k: Int, level: InstructionSet, threads: Int
    ) throws {
        var expected = [T](repeating: 0, count: values.count)
        for i in order.prefix(k) { expected[i] = 1 }

        let buffer = Buffer(values)
        let tensor = buffer.tensor("v", type, [values.count])
        let sweep = Sweep(execution(level, threads: threads), inputs: [Operand(tensor)], like: tensor, temporaries: 1)
        let selection = try sweep.selectLargest(k) { b in b.input(0) }

        let taken = Buffer([T](repeating: -1, count: values.count))
        let ones = Buffer([T](repeating: 1, count: values.count))
        var marking = Sweep(
            execution(level), inputs: [Operand(tensor), Operand(ones.tensor("w", type, [values.count]))],
            like: tensor)
        marking.outputs = [taken.tensor("out", type, [values.count])]
        try marking.run { b in
            b.kernels.selected(
                b.input(0), b.input(1), selection.threshold, selection.last(in: b), b.output(0), b.padded)
        }
        XCTAssertTrue(
            Array(taken.values.prefix(values.count)) == expected, "k = \(k) of \(values.count) at \(level.name)")
        let sum = order.prefix(k).reduce(0.0) { $0 + Double(values[$1]) }
        if sum.isFinite {
            let scale = order.prefix(k).reduce(1e-3) { $0 + abs(Double(values[$1])) }
            XCTAssertEqual(selection.sum, sum, accuracy: (type == .f32 ? 1e-6 : 1e-13) * scale)
        } else {
            XCTAssertTrue(selection.sum.isNaN == sum.isNaN && (sum.isNaN || selection.sum == sum))
        }
    }

    private func cases(_ random: inout Random) -> [[Double]] {
        let n = 4099
        let uniform = (0..<n).map { _ in random.uniform() }
        return [
            uniform,
            (0..<n).map { Double($0 % 5) },  // ties everywhere
            [Double](repeating: 0.25, count: n),  // nothing but ties
            (0..<n).map { Double($0 / 40 % 7) },  // runs of them
            uniform.map { $0 < 0.5 ? 0 : -$0 },  // signs, and zeros
            uniform.enumerated().map { $0 % 100 == 7 ? .nan : $1 },
            uniform.enumerated().map { $0 % 100 == 7 ? -.infinity : $0 % 100 == 8 ? .infinity : $1 },
            (0..<n).map { $0 % 3 == 0 ? -0.0 : 0.0 },
            [0.5], [], (0..<33).map { Double($0) },
        ]
    }

    func testAgainstSort() throws {
        var random = Random(6)
        for values in cases(&random) {
            let order = byTheRules(values)
            for k in Set([0, 1, 2, values.count / 3, values.count - 1, values.count]) where k >= 0 {
                for level in levels {
                    try check(values, order: order, .f64, k: k, level: level, threads: 1)
                    let floats = values.map(Float.init)
                    try check(floats, order: byTheRules(floats), .f32, k: k, level: level, threads: 1)
                }
            }
        }
    }

    /// Ties that begin in one chunk and end in a later one, on several threads.
    func testTiesAcrossChunks() throws {
        var values = [Float](repeating: 1, count: 3 * 65536 + 17)
        for i in stride(from: 0, to: values.count, by: 7) { values[i] = 2 }
        let order = values.indices.filter { values[$0] == 2 } + values.indices.filter { values[$0] == 1 }
        for (k, threads) in [(20_000, 1), (65536, 2), (150_000, 3), (196_600, 2)] {
            try check(values, order: order, .f32, k: k, level: levels.last!, threads: threads)
        }
    }
}
