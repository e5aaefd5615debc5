import CLosses
import LossCore

private func anchors(_ pointer: UnsafePointer<segloss_ctpn_anchor_targets_options>?) throws(LossError) -> CTPNAnchors {
    let o = try options(
        "options", pointer, segloss_ctpn_anchor_targets_options_default(Int32(SEGLOSS_CTPN_PUBLISHED)))
    try requireUnused(o.reserved)
    return try CTPNAnchors(
        variant: ctpnVariant(o.variant), stride: Int(o.stride), width: o.width, batch: Int(o.batch_size),
        fgFraction: o.fg_fraction, clobbersPositives: flag("clobber_positives", o.clobber_positives),
        negativeOverlap: o.negative_overlap, positiveOverlap: o.positive_overlap, positiveWeight: o.positive_weight,
        insideWeights: [o.inside_dx, o.inside_dy, o.inside_dw, o.inside_dh], sideDistance: o.side_distance)
}

private func load(_ pointer: UnsafeMutablePointer<segloss_mt19937>?) throws(LossError) -> MT19937? {
    guard let pointer else { return nil }
    return try withUnsafeBytes(of: &pointer.pointee.key) { key throws(LossError) in
        try MT19937(key: Array(key.bindMemory(to: UInt32.self)), position: Int(pointer.pointee.position))
    }
}

private func store(_ generator: MT19937, to pointer: UnsafeMutablePointer<segloss_mt19937>) {
    withUnsafeMutableBytes(of: &pointer.pointee.key) { key in
        for (i, word) in generator.key.enumerated() { key.storeBytes(of: word, toByteOffset: i * 4, as: UInt32.self) }
    }
    pointer.pointee.position = Int32(generator.position)
}

@_cdecl("segloss_mt19937_seed") @implementation
public func segloss_mt19937_seed(_ generator: UnsafeMutablePointer<segloss_mt19937>!, _ seed: UInt32) {
    guard let generator else { return }
    store(MT19937(seed: seed), to: generator)
}

@_cdecl("segloss_ctpn_anchor_targets") @implementation
public func segloss_ctpn_anchor_targets(
    _ gt_boxes: UnsafePointer<segloss_tensor>!, _ line_boxes: UnsafePointer<segloss_tensor>!,
    _ heights: UnsafePointer<segloss_tensor>!, _ image_height: Double, _ image_width: Double,
    _ options: UnsafePointer<segloss_ctpn_anchor_targets_options>!,
    _ generator: UnsafeMutablePointer<segloss_mt19937>!, _ rpn_labels: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_targets: UnsafePointer<segloss_tensor>!, _ rpn_bbox_inside_weights: UnsafePointer<segloss_tensor>!,
    _ rpn_bbox_outside_weights: UnsafePointer<segloss_tensor>!, _ rpn_side_targets: UnsafePointer<segloss_tensor>!,
    _ rpn_side_mask: UnsafePointer<segloss_tensor>!, _ error: UnsafeMutablePointer<segloss_error>!
) -> Int32 {
    status(error) { () throws(LossError) in
        var random = try load(generator)
        try anchors(options)(
            gtBoxes: tensor("gt_boxes", gt_boxes), lineBoxes: optionalTensor("line_boxes", line_boxes),
            heights: optionalTensor("heights", heights), imageHeight: image_height, imageWidth: image_width,
            generator: &random,
            to: CTPNAnchors.Outputs(
                labels: tensor("rpn_labels", rpn_labels),
                targets: optionalTensor("rpn_bbox_targets", rpn_bbox_targets),
                inside: optionalTensor("rpn_bbox_inside_weights", rpn_bbox_inside_weights),
                outside: optionalTensor("rpn_bbox_outside_weights", rpn_bbox_outside_weights),
                sideTargets: optionalTensor("rpn_side_targets", rpn_side_targets),
                sideMask: optionalTensor("rpn_side_mask", rpn_side_mask)))
        if let random, let generator { store(random, to: generator) }
    }
}
