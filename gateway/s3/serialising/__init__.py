"""From the Output of an operation to its response: `serialise_<operation>(output)` for each operation, and errors.

Sources stand in the families' modules. `Content-Length` is set here only for objects, where HEAD must state it too.
"""

from gateway.s3.serialising.access import (
    serialise_delete_bucket_cors,
    serialise_delete_bucket_ownership_controls,
    serialise_delete_bucket_policy,
    serialise_delete_public_access_block,
    serialise_get_bucket_acl,
    serialise_get_bucket_cors,
    serialise_get_bucket_ownership_controls,
    serialise_get_bucket_policy,
    serialise_get_bucket_policy_status,
    serialise_get_object_acl,
    serialise_get_public_access_block,
    serialise_put_bucket_acl,
    serialise_put_bucket_cors,
    serialise_put_bucket_ownership_controls,
    serialise_put_bucket_policy,
    serialise_put_object_acl,
    serialise_put_public_access_block,
)
from gateway.s3.serialising.buckets import (
    serialise_create_bucket,
    serialise_delete_bucket,
    serialise_delete_bucket_encryption,
    serialise_get_bucket_encryption,
    serialise_get_bucket_location,
    serialise_get_bucket_versioning,
    serialise_head_bucket,
    serialise_list_buckets,
    serialise_put_bucket_encryption,
)
from gateway.s3.serialising.errors import error_response
from gateway.s3.serialising.lifecycle import (
    serialise_delete_bucket_lifecycle,
    serialise_get_bucket_lifecycle_configuration,
    serialise_put_bucket_lifecycle_configuration,
)
from gateway.s3.serialising.listing import (
    serialise_list_multipart_uploads,
    serialise_list_objects,
    serialise_list_objects_v2,
)
from gateway.s3.serialising.logging import serialise_get_bucket_logging, serialise_put_bucket_logging
from gateway.s3.serialising.multipart import (
    serialise_abort_multipart_upload,
    serialise_complete_multipart_upload,
    serialise_create_multipart_upload,
    serialise_list_parts,
    serialise_upload_part,
    serialise_upload_part_copy,
)
from gateway.s3.serialising.notifying import (
    serialise_get_bucket_notification_configuration,
    serialise_put_bucket_notification_configuration,
)
from gateway.s3.serialising.objects import (
    serialise_copy_object,
    serialise_delete_object,
    serialise_delete_objects,
    serialise_get_object,
    serialise_get_object_tagging,
    serialise_head_object,
    serialise_put_object,
)
from gateway.s3.serialising.posting import serialise_post_object

__all__ = [
    "error_response",
    "serialise_abort_multipart_upload",
    "serialise_complete_multipart_upload",
    "serialise_copy_object",
    "serialise_create_bucket",
    "serialise_create_multipart_upload",
    "serialise_delete_bucket",
    "serialise_delete_bucket_cors",
    "serialise_delete_bucket_encryption",
    "serialise_delete_bucket_lifecycle",
    "serialise_delete_bucket_ownership_controls",
    "serialise_delete_bucket_policy",
    "serialise_delete_object",
    "serialise_delete_objects",
    "serialise_delete_public_access_block",
    "serialise_get_bucket_acl",
    "serialise_get_bucket_cors",
    "serialise_get_bucket_encryption",
    "serialise_get_bucket_lifecycle_configuration",
    "serialise_get_bucket_location",
    "serialise_get_bucket_logging",
    "serialise_get_bucket_notification_configuration",
    "serialise_get_bucket_ownership_controls",
    "serialise_get_bucket_policy",
    "serialise_get_bucket_policy_status",
    "serialise_get_bucket_versioning",
    "serialise_get_object",
    "serialise_get_object_acl",
    "serialise_get_object_tagging",
    "serialise_get_public_access_block",
    "serialise_head_bucket",
    "serialise_head_object",
    "serialise_list_buckets",
    "serialise_list_multipart_uploads",
    "serialise_list_objects",
    "serialise_list_objects_v2",
    "serialise_list_parts",
    "serialise_post_object",
    "serialise_put_bucket_acl",
    "serialise_put_bucket_cors",
    "serialise_put_bucket_encryption",
    "serialise_put_bucket_lifecycle_configuration",
    "serialise_put_bucket_logging",
    "serialise_put_bucket_notification_configuration",
    "serialise_put_bucket_ownership_controls",
    "serialise_put_bucket_policy",
    "serialise_put_object",
    "serialise_put_object_acl",
    "serialise_put_public_access_block",
    "serialise_upload_part",
    "serialise_upload_part_copy",
]
