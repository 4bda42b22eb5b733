#!/usr/bin/env python3
"""An OCI image of one layer, as an archive that `podman load` and `skopeo copy oci-archive:` take.

    oci.py ROOT.tar OUT.tar NAME

The layer is ROOT.tar as it is, and all dates are its own: the same root makes the same bytes. What is run is /sbin/init,
with the run's arguments as guestd's options. OCI image-spec 1.1: image-layout.md, manifest.md, config.md.
"""

import datetime
import hashlib
import io
import json
import os
import platform
import sys
import tarfile

TYPE = "application/vnd.oci.image."
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Archive:
    """The archive while it is written; `add` and `blob` put a file in, and `blob` describes it."""

    def __init__(self, path, mtime):
        self.tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)
        self.mtime = mtime

    def add(self, name, stream, size):
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, self.mtime, 0o644
        self.tar.addfile(info, stream)

    def blob(self, kind, stream, digest, size):
        self.add(f"blobs/sha256/{digest}", stream, size)
        return {"mediaType": TYPE + kind, "digest": f"sha256:{digest}", "size": size}

    def json(self, kind, value):
        data = json.dumps(value, sort_keys=True).encode()
        return self.blob(kind, io.BytesIO(data), hashlib.sha256(data).hexdigest(), len(data))


def digest_of(stream):
    digest = hashlib.sha256()
    while piece := stream.read(1 << 20):
        digest.update(piece)
    stream.seek(0)
    return digest.hexdigest()


def main():
    if len(sys.argv) != 4:
        sys.exit(f"usage: {sys.argv[0]} ROOT.tar OUT.tar NAME")
    root, out, name = sys.argv[1:]
    mtime = int(os.stat(root).st_mtime)
    created = datetime.datetime.fromtimestamp(mtime, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    archive = Archive(out, mtime)
    with open(root, "rb") as stream:
        digest = digest_of(stream)
        layer = archive.blob("layer.v1.tar", stream, digest, os.stat(root).st_size)
    config = archive.json("config.v1+json", {
        "created": created,
        "architecture": ARCHITECTURES[platform.machine()],
        "os": "linux",
        "config": {"Entrypoint": ["/sbin/init"], "Env": [f"PATH={PATH}"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "history": [{"created": created, "created_by": "image/build.sh"}],
    })
    manifest = archive.json("manifest.v1+json", {
        "schemaVersion": 2, "mediaType": TYPE + "manifest.v1+json", "config": config, "layers": [layer],
    })
    manifest["annotations"] = {"org.opencontainers.image.ref.name": f"{name}:latest"}
    for file, value in (
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ("index.json", {"schemaVersion": 2, "mediaType": TYPE + "index.v1+json", "manifests": [manifest]}),
    ):
        data = json.dumps(value, sort_keys=True).encode()
        archive.add(file, io.BytesIO(data), len(data))
    archive.tar.close()


if __name__ == "__main__":
    main()
