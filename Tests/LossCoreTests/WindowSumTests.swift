import KernelTable
import XCTest

@testable import LossCore

/// The box window of the structure loss, and the root of the active contour's, kernel by kernel at every level.
final class WindowSumTests: XCTestCase {
    /// 1 + |mean over the window| of a row of column sums, for columns that float64 holds exactly.
    private func weights<T: BinaryFloatingPoint>(
        _ kernels: Kernels, _ columns: [Double], radius: Int, divisor: Double, widths: [Double]? = nil, as: T.Type
    ) -> [T] {
        weights(kernels, columns, radius: radius, divisor: divisor, widths: widths, sumsAs: Double.self, as: T.self)
    }

    private func weights<S: BinaryFloatingPoint, T: BinaryFloatingPoint>(
        _ kernels: Kernels, _ columns: [Double], radius: Int, divisor: Double, widths: [Double]? = nil,
        sumsAs: S.Type, as: T.Type
    ) -> [T] {
        let count = columns.count
        let n = Sweep.padded(count)
        let column = Buffer([S](repeating: 0, count: 16 + n + 48))
        for (j, value) in columns.enumerated() { column.memory[16 + j] = S(value) }
        let fours = Buffer([S](repeating: 0, count: 16 + n + 32))
        let sixteens = Buffer([S](repeating: 0, count: 2 * radius + 32 + n + radius + 16))
        let y = Buffer([T](repeating: 0, count: n))
        let out = Buffer([T](repeating: 7, count: n))
        let width = widths.map { Buffer($0.map { S($0) } + [S](repeating: 1, count: n - count)) }
        kernels.window_weights(
            column.memory.baseAddress! + 16, fours.memory.baseAddress! + 16,
            sixteens.memory.baseAddress! + 2 * radius + 32, radius, y.memory.baseAddress!, width?.memory.baseAddress,
            divisor, 1, count, out.memory.baseAddress!, n, S.self == Float.self)
        XCTAssertTrue(out.values[count...].allSatisfy { $0 == 0 }, "columns that pad a row weigh something")
        return Array(out.values[..<count])
    }

    func testWindowsOfEverySize() {
        var random = Random(11)
        for count in [1, 2, 15, 16, 17, 31, 32, 33, 63, 100, 257] {
            let columns = (0..<count).map { _ in Double(Int.random(in: 0...31, using: &random)) }
            for radius in [0, 1, 2, 15, 16, 17, 31, 40, 255] where radius < count || radius == 0 {
                let divisor = Double((2 * radius + 1) * (2 * radius + 1))
                let widths = (0..<count).map { Double(min(count - 1, $0 + radius) - max(0, $0 - radius) + 1) }
                let sums = (0..<count).map { j in
                    columns[max(0, j - radius)...min(count - 1, j + radius)].reduce(0, +)
                }
                for level in levels {
                    let table = level.makeKernels()
                    // The sums are exact: all that rounds is a quotient, its type and the 1.
                    let single = weights(table.f32, columns, radius: radius, divisor: divisor, as: Float.self)
                    XCTAssertEqual(single, sums.map { 1 + Float($0 / divisor) }, "\(count), \(radius), \(level.name)")
                    for (divisor, widths) in [(divisor, nil), (31, widths)] {
                        let wide = weights(
                            table.f32, columns, radius: radius, divisor: divisor, widths: widths, as: Float.self)
                        let narrow = weights(
                            table.f32, columns, radius: radius, divisor: divisor, widths: widths, sumsAs: Float.self,
                            as: Float.self)
                        XCTAssertEqual(narrow, wide, "\(count), \(radius), \(level.name)")
                    }
                    let double = weights(table.f64, columns, radius: radius, divisor: divisor, as: Double.self)
                    XCTAssertEqual(double, sums.map { 1 + $0 / divisor }, "\(count), \(radius), \(level.name)")
                    let inside = weights(
                        table.f64, columns, radius: radius, divisor: 31, widths: widths, as: Double.self)
                    XCTAssertEqual(inside, zip(sums, widths).map { 1 + $0 / (31 * $1) }, "\(count), \(radius)")
                }
            }
        }
    }

    /// Rows that come and go leave what they left before them.
    func testColumns() {
        var random = Random(12)
        let rows = (0..<50).map { _ in (0..<64).map { _ in Float(random.uniform()) } }
        for level in levels {
            let kernels = level.makeKernels().f32
            let sums = Buffer([Double](repeating: 0, count: 64))
            let memory = rows.map { Buffer($0) }
            for i in 0..<50 {
                kernels.column_sums(
                    sums.memory.baseAddress!, memory[i].memory.baseAddress!,
                    i >= 7 ? UnsafeRawPointer(memory[i - 7].memory.baseAddress!) : nil, 64, false)
            }
            for i in 43..<50 { kernels.column_sums(sums.memory.baseAddress!, nil, memory[i].memory.baseAddress!, 64, false) }
            // Fifty sums of numbers below 8, half a unit of 2^-50 each.
            XCTAssertTrue(sums.values.allSatisfy { abs($0) <= 100 * 0x1p-51 }, level.name.description)
        }
    }

    /// a/√(a² + 1e-8) over all sizes of a, at every level the same.
    func testSlopes() {
        let a = (0..<4096).map { Float(pow(10, Double($0) / 4096 * 26 - 8)) * ($0 % 2 == 0 ? 1 : -1) }
        var reference: [Float]?
        for level in levels {
            let kernels = level.makeKernels().f32
            // One row of zeros, and one of a below it: no difference across.
            let p = Buffer([Float](repeating: 0, count: 4096) + a)
            let down = Buffer([Float](repeating: 7, count: 4096))
            let across = Buffer([Float](repeating: 7, count: 4096))
            let sums = Buffer([Double](repeating: 0, count: 16))
            kernels.contour_slopes(
                p.memory.baseAddress!, nil, nil, 1, 4096, 4095, down.memory.baseAddress!, across.memory.baseAddress!,
                4096, sums.memory.baseAddress!)
            // The same length as without the slopes.
            let length = Buffer([Double](repeating: 0, count: 16))
            kernels.contour_length(
                p.memory.baseAddress!, nil, nil, 1, 4096, 4095, 4096, length.memory.baseAddress!)
            XCTAssertEqual(sums.values, length.values)
            for i in 0..<4095 {
                let truth = Double(a[i]) / (Double(a[i]) * Double(a[i]) + Double(Float(1e-8))).squareRoot()
                // Half a unit from a², from the sum and from the product, and 2 of the root's.
                XCTAssertEqual(Double(down.values[i]), truth, accuracy: 2e-7 * truth.magnitude, "\(a[i])")
                XCTAssertEqual(across.values[i], 0)
            }
            XCTAssertEqual(down.values[4095], 0)
            XCTAssertEqual(down.values, reference ?? down.values, level.name.description)
            reference = down.values
        }
    }
}
