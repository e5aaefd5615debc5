import KernelTable
import XCTest

@testable import LossCore

/// Columns that are read and written side by side are what they are one by one, at every level.
final class ColumnsTests: XCTestCase {
    // Fewer than a tile has, one tile, tiles that overlap; less than a tile of rows, and more than what stays in the cache.
    private let columns = [5, 6, 7, 8, 9, 15, 16, 17, 21]
    private let rows = [1, 2, 7, 8, 9, 63, 128, 129, 300]

    private func each(_ body: (KernelTable, _ stride: Int, _ columns: Int, _ rows: Int) -> Void) {
        for level in levels {
            let table = level.makeKernels()
            for columns in columns {
                for stride in [columns, columns + 1, columns + 9] {
                    for rows in rows { body(table, stride, columns, rows) }
                }
            }
        }
    }

    private func types(_ table: KernelTable) -> [(Conversion, bytes: Int)] {
        [(table.to_f32.f32, 4), (table.to_f32.f16, 2), (table.to_f32.bf16, 2), (table.to_f32.u8, 1)]
    }

    func testReading() {
        var random = Random(3)
        each { table, stride, columns, rows in
            for (conversion, bytes) in types(table) {
                // Not an element more than there is.
                let size = ((rows - 1) * stride + columns) * bytes
                let from = Buffer((0..<size).map { _ in UInt8.random(in: 0...0x3B, using: &random) })
                let wanted = Buffer([Float](repeating: -1, count: columns * rows))
                let got = Buffer([Float](repeating: -1, count: columns * rows))
                for c in 0..<columns {
                    conversion.widen(
                        from.memory.baseAddress! + c * bytes, stride, wanted.memory.baseAddress! + c * rows, rows)
                }
                conversion.widen_columns!(
                    from.memory.baseAddress!, stride, columns, got.memory.baseAddress!, rows * 4, rows)
                XCTAssertEqual(got.values, wanted.values, "\(bytes) bytes, \(columns) of \(stride), \(rows) rows")
            }
        }
    }

    /// Elements between the columns, and after them, stay what they were.
    func testWriting() {
        var random = Random(4)
        each { table, stride, columns, rows in
            for (conversion, bytes) in types(table) {
                guard let narrow = conversion.narrow, let narrowColumns = conversion.narrow_columns else { continue }
                let from = Buffer((0..<columns * rows).map { _ in Float.random(in: -9...9, using: &random) })
                let size = (rows * stride + 8) * bytes
                let wanted = Buffer([UInt8](repeating: 0x5A, count: size))
                let got = Buffer([UInt8](repeating: 0x5A, count: size))
                for c in 0..<columns {
                    narrow(
                        from.memory.baseAddress! + c * rows, wanted.memory.baseAddress! + c * bytes, stride, rows)
                }
                narrowColumns(from.memory.baseAddress!, rows * 4, got.memory.baseAddress!, stride, columns, rows)
                XCTAssertEqual(got.values, wanted.values, "\(bytes) bytes, \(columns) of \(stride), \(rows) rows")
            }
        }
    }
}
