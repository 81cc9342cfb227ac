"""Messages as Cloud Storage sends them to Pub/Sub."""

import json

Message = tuple[dict[str, str], bytes]
"""Attributes and data."""


def finalized(bucket: str, name: str, generation: str = "1", **attributes: str) -> Message:
    """A generation of an object is whole; the fields are those of a real one, as the documentation shows it."""
    resource = {
        "kind": "storage#object",
        "id": f"{bucket}/{name}/{generation}",
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{bucket}/o/{name}",
        "name": name,
        "bucket": bucket,
        "generation": generation,
        "metageneration": "1",
        "contentType": "video/mp4",
        "timeCreated": "2026-11-25T01:02:03.456Z",
        "updated": "2026-11-25T01:02:03.456Z",
        "storageClass": "STANDARD",
        "size": "12345",
        "md5Hash": "CY9rzUYh03PK3k6DJie09g==",
        "etag": "CJ",
    }
    return {
        "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/1",
        "eventType": "OBJECT_FINALIZE",
        "payloadFormat": "JSON_API_V1",
        "bucketId": bucket,
        "objectId": name,
        "objectGeneration": generation,
        "eventTime": "2026-11-25T01:02:03.456789Z",
        **attributes,
    }, json.dumps(resource, indent=2).encode()
