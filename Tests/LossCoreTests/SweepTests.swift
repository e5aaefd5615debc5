import KernelTable
import XCTest

@testable import LossCore

/// The shape of sums, and what blocks hold whatever the layout.
final class SweepTests: XCTestCase {
    /// Design section 8, word for word: chunks of 65536, blocks of 1024, 32 float32 lanes, 16 float64 lanes.
    private func sumByTheBook(_ values: [Float]) -> Double {
        var total = 0.0
        for chunk in stride(from: 0, to: values.count, by: 65536) {
            var wide = [Double](repeating: 0, count: 16)
            for block in stride(from: chunk, to: min(chunk + 65536, values.count), by: 1024) {
                var lanes = [Float](repeating: 0, count: 32)
                for i in block..<min(block + 1024, values.count) { lanes[(i - block) % 32] += values[i] }
                for j in 0..<16 { wide[j] += Double(lanes[j] + lanes[j + 16]) }
            }
            var half = 8
            while half > 0 {
                for j in 0..<half { wide[j] += wide[j + half] }
                half /= 2
            }
            total += wide[0]
        }
        return total
    }

    func testSumsHaveTheBitsOfTheDesign() throws {
        var random = Random(2)
        for count in [1, 31, 32, 33, 1023, 1024, 1025, 65535, 65536, 65537, 300_007] {
            let values = (0..<count).map { _ in Float(random.uniform() - 0.3) }
            let buffer = Buffer(values)
            let tensor = buffer.tensor("x", .f32, [count])
            let expected = sumByTheBook(values)
            for level in levels {
                for threads in 1...3 {
                    let sweep = Sweep(
                        execution(level, threads: threads), inputs: [Operand(tensor)], like: tensor, sums: 2)
                    let sums = try sweep.run { b in
                        b.kernels.sum2(b.input(0), b.input(0), b.padded, b.sums(0))
                    }.sums
                    XCTAssertEqual(sums, [expected, expected], "\(count) at \(level.name), \(threads) threads")
                }
            }
        }
    }

    /// Every stride, type and offset gives the elements in logical order.
    func testBlocksAreInLogicalOrder() throws {
        var random = Random(4)
        for _ in 0..<200 {
            let rank = Int.random(in: 1...4, using: &random)
            let shape = (0..<rank).map { _ in Int.random(in: 1...(rank == 1 ? 3000 : 12), using: &random) }
            let strides = (0..<rank).map { _ in Int.random(in: -3...3, using: &random) }
            // Wherever the strides go it is inside this.
            let reach = zip(shape, strides).map { ($0 - 1) * abs($1) }.reduce(0, +)
            let memory = Buffer((0..<(2 * reach + 1)).map { UInt8(truncatingIfNeeded: $0 &* 7) })
            let tensor = memory.tensor("x", .u8, shape, strides: strides, at: reach)
            let out = Buffer([Float](repeating: -1, count: tensor.count))
            let like = out.tensor("out", .f32, [tensor.count])
            let sweep = Sweep(execution(), inputs: [Operand(tensor)], outputs: [like], like: like)
            try sweep.run { b in b.kernels.scale(b.input(0), 1, b.output(0), b.padded) }
            let expected = (0..<tensor.count).map { Float(memory.memory[reach + tensor.offset(of: $0)]) }
            XCTAssertEqual(out.values, expected)
        }
    }

    func testOutputsReachTheirPlaces() throws {
        var random = Random(5)
        let values = (0..<2 * 3 * 700).map { _ in Float(random.uniform()) }
        let source = Buffer(values)
        for type in [ElementType.f32, .f64, .f16, .bf16] {
            // N, C, S written into memory ordered N, S, C.
            let out = Buffer([UInt8](repeating: 0, count: values.count * type.bytes))
            let target = out.tensor("out", type, [2, 3, 700], strides: [2100, 1, 3])
            let input = source.tensor("x", .f32, [2, 3, 700])
            try Sweep(execution(), inputs: [Operand(input)], outputs: [target], like: input).run { b in
                b.kernels.scale(b.input(0), 1, b.output(0), b.padded)
            }
            let back = Buffer([Float](repeating: 0, count: values.count))
            let dense = back.tensor("back", .f32, [2, 3, 700])
            try Sweep(execution(), inputs: [Operand(target)], outputs: [dense], like: dense).run { b in
                b.kernels.scale(b.input(0), 1, b.output(0), b.padded)
            }
            let expected: [Float] = values.map { value in
                switch type {
                case .f16: Float(Float16(value))
                case .bf16: Self.roundedToBFloat(value)
                default: value
                }
            }
            XCTAssertEqual(back.values, expected, "\(type)")
        }
    }

    private static func roundedToBFloat(_ value: Float) -> Float {
        let down = Float(bitPattern: value.bitPattern & 0xFFFF_0000)
        let up = Float(bitPattern: (value.bitPattern & 0xFFFF_0000) &+ 0x1_0000)
        if value - down != up - value { return value - down < up - value ? down : up }
        return down.bitPattern & 0x1_0000 == 0 ? down : up
    }

    func testRefusedValuesAreNamed() throws {
        var values = [Float](repeating: 0.5, count: 70_000)
        values[66_001] = 1.5
        let buffer = Buffer(values)
        let tensor = buffer.tensor("pred", .f32, [70, 1000])
        let sweep = Sweep(
            execution(threads: 2), inputs: [Operand(tensor, isProbability: true)], like: tensor, checksValues: true)
        XCTAssertThrowsError(try sweep.run { _ in }) { error in
            let error = error as! LossError
            XCTAssertEqual(error.status, .outOfRange)
            XCTAssertTrue(error.sentence.contains("pred: 1.5 at index (66, 1)"), error.sentence)
        }
    }
}
