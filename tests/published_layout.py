"""Names and shapes in the checkpoints of others, written down from their documents, without the networks of the zoo."""

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
INCEPTION = {
    "3a": (192, 64, 96, 128, 16, 32, 32),
    "3b": (256, 128, 128, 192, 32, 96, 64),
    "4a": (480, 192, 96, 208, 16, 48, 64),
    "4b": (512, 160, 112, 224, 24, 64, 64),
    "4c": (512, 128, 128, 256, 24, 64, 64),
    "4d": (512, 112, 144, 288, 32, 64, 64),
    "4e": (528, 256, 160, 320, 32, 128, 128),
    "5a": (832, 256, 160, 320, 32, 128, 128),
    "5b": (832, 384, 192, 384, 48, 128, 128),
}
TAPS = ("prev_se", "next_se", "curr_se")


def norm(name, channels):
    vectors = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return vectors | {f"{name}.num_batches_tracked": ()}


def classifier(classes, width):
    return {"fc.weight": (classes, width), "fc.bias": (classes,)}


def kernel(kind, out, into, size):
    """A spatial kernel: of two axes, inflated, or flat in time."""
    return {"2d": (out, into, size, size), "i3d": (out, into, size, size, size), "s3d": (out, into, 1, size, size)}[
        kind
    ]


def resnet(depth, kind="2d", tam=False, classes=400):
    """TSN, TAM, I3D-ResNet or S3D-ResNet as the framework of arXiv 2010.11757 saves it; TSN is torchvision's ResNet."""
    stem = (64, 3, 7, 7) if kind == "2d" else (64, 3, 3, 7, 7)
    names = {"conv1.weight": stem} | norm("bn1", 64)
    channels = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        width = 64 * 2**stage
        out = width if depth < 50 else 4 * width
        for index in range(blocks):
            block = f"layer{stage + 1}.{index}"
            sizes = [(3, width), (3, width)] if depth < 50 else [(1, width), (3, width), (1, out)]
            into = channels
            for number, (size, to) in enumerate(sizes, 1):
                names[f"{block}.conv{number}.weight"] = kernel(kind, to, into, size)
                names |= norm(f"{block}.bn{number}", to)
                if kind == "s3d" and size == 3:
                    names[f"{block}.conv{number}_t.weight"] = (to, to, 3, 1, 1)
                    names |= norm(f"{block}.bn{number}_t", to)
                into = to
            if channels != out or (index == 0 and stage > 0):
                names[f"{block}.downsample.0.weight"] = kernel(kind, out, channels, 1)
                names |= norm(f"{block}.downsample.1", out)
            if tam:
                names |= {f"{block}.tam.{tap}.fc1.weight": (channels, 1, 1, 1) for tap in TAPS}
            channels = out
    return names | classifier(classes, channels)


def inception(kind="2d", tam=False, classes=400, aux=False):
    """Inception-v1, I3D or S3D as the framework saves them; with ``aux``, torchvision's GoogLeNet."""

    def unit(name, out, into, size):
        made = {f"{name}.conv.weight": kernel(kind, out, into, size)} | norm(f"{name}.bn", out)
        if kind == "s3d" and size == 3:
            made |= {f"{name}.conv_t.weight": (out, out, 3, 1, 1), f"{name}.conv_t.bias": (out,)}
            made |= norm(f"{name}.bn_t", out)
        return made

    names = unit("conv1", 64, 3, 7) | unit("conv2", 64, 64, 1) | unit("conv3", 192, 64, 3)
    if kind == "s3d":
        names["conv1.conv.weight"] = (64, 3, 3, 7, 7)
    mixed = {"1": 64, "2": 64, "3": 192}
    for block, (into, first, reduced2, second, reduced3, third, fourth) in INCEPTION.items():
        name = f"inception{block}"
        names |= unit(f"{name}.branch1", first, into, 1)
        names |= unit(f"{name}.branch2.0", reduced2, into, 1) | unit(f"{name}.branch2.1", second, reduced2, 3)
        names |= unit(f"{name}.branch3.0", reduced3, into, 1) | unit(f"{name}.branch3.1", third, reduced3, 3)
        names |= unit(f"{name}.branch4.1", fourth, into, 1)
        mixed[block] = first + second + third + fourth
    if tam:
        names |= {f"tam{at}.{tap}.fc1.weight": (c, 1, 1, 1) for at, c in mixed.items() for tap in TAPS}
    for number, into in ((1, 512), (2, 528)) if aux else ():
        names |= unit(f"aux{number}.conv", 128, into, 1)
        names |= {f"aux{number}.fc1.weight": (1024, 2048), f"aux{number}.fc1.bias": (1024,)}
        names |= {f"aux{number}.fc2.weight": (classes, 1024), f"aux{number}.fc2.bias": (classes,)}
    return names | classifier(classes, 1024)


def r2plus1d_18(classes=400):
    """R(2+1)D of 18 layers as torchvision saves it."""

    def factored(name, out, middle, into, size=3):
        made = {f"{name}.0.weight": (middle, into, 1, size, size)} | norm(f"{name}.1", middle)
        return made | {f"{name}.3.weight": (out, middle, 3, 1, 1)}

    names = factored("stem", 64, 45, 3, 7) | norm("stem.4", 64)
    channels = 64
    for stage in range(4):
        width = 64 * 2**stage
        for index in range(2):
            block = f"layer{stage + 1}.{index}"
            middle = channels * width * 27 // (channels * 9 + 3 * width)
            names |= factored(f"{block}.conv1.0", width, middle, channels) | norm(f"{block}.conv1.1", width)
            names |= factored(f"{block}.conv2.0", width, middle, width) | norm(f"{block}.conv2.1", width)
            if channels != width:
                names[f"{block}.downsample.0.weight"] = (width, channels, 1, 1, 1)
                names |= norm(f"{block}.downsample.1", width)
            channels = width
    return names | classifier(classes, 512)
