"""From a request to the Input of its operation: `parse_<operation>(request, address, document)` for each operation.

All parsers have one signature and raise S3Error alone. `document` is the whole body of CreateBucket, DeleteObjects and
CompleteMultipartUpload, and empty for the others. Sources stand in the families' modules.
"""

from gateway.s3.parsing.access import (
    parse_delete_bucket_ownership_controls,
    parse_delete_bucket_policy,
    parse_delete_public_access_block,
    parse_get_bucket_acl,
    parse_get_bucket_ownership_controls,
    parse_get_bucket_policy,
    parse_get_bucket_policy_status,
    parse_get_object_acl,
    parse_get_public_access_block,
    parse_put_bucket_acl,
    parse_put_bucket_ownership_controls,
    parse_put_bucket_policy,
    parse_put_object_acl,
    parse_put_public_access_block,
)
from gateway.s3.parsing.bucket_encryption import parse_put_bucket_encryption
from gateway.s3.parsing.buckets import (
    parse_create_bucket,
    parse_delete_bucket,
    parse_delete_bucket_encryption,
    parse_delete_bucket_tagging,
    parse_get_bucket_encryption,
    parse_get_bucket_location,
    parse_get_bucket_tagging,
    parse_get_bucket_versioning,
    parse_get_object_lock_configuration,
    parse_head_bucket,
    parse_list_buckets,
)
from gateway.s3.parsing.copying import parse_copy_object, parse_upload_part_copy
from gateway.s3.parsing.cors import parse_delete_bucket_cors, parse_get_bucket_cors, parse_put_bucket_cors
from gateway.s3.parsing.documents import document_expectation
from gateway.s3.parsing.fields import response_overrides
from gateway.s3.parsing.lifecycle import (
    parse_delete_bucket_lifecycle,
    parse_get_bucket_lifecycle_configuration,
    parse_put_bucket_lifecycle_configuration,
)
from gateway.s3.parsing.listing import parse_list_multipart_uploads, parse_list_objects, parse_list_objects_v2
from gateway.s3.parsing.locks import (
    parse_put_object_legal_hold,
    parse_put_object_lock_configuration,
    parse_put_object_retention,
)
from gateway.s3.parsing.logging import parse_get_bucket_logging, parse_put_bucket_logging
from gateway.s3.parsing.multipart import (
    parse_abort_multipart_upload,
    parse_complete_multipart_upload,
    parse_create_multipart_upload,
    parse_list_parts,
    parse_upload_part,
)
from gateway.s3.parsing.notifying import (
    parse_get_bucket_notification_configuration,
    parse_put_bucket_notification_configuration,
)
from gateway.s3.parsing.objects import (
    parse_delete_object,
    parse_delete_objects,
    parse_get_object,
    parse_head_object,
    parse_put_object,
)
from gateway.s3.parsing.posting import parse_post_object
from gateway.s3.parsing.tags import parse_put_bucket_tagging, parse_put_object_tagging
from gateway.s3.parsing.versions import (
    parse_delete_object_tagging,
    parse_get_object_attributes,
    parse_get_object_legal_hold,
    parse_get_object_retention,
    parse_get_object_tagging,
    parse_list_object_versions,
    parse_put_bucket_versioning,
)

__all__ = [
    "document_expectation",
    "parse_abort_multipart_upload",
    "parse_complete_multipart_upload",
    "parse_copy_object",
    "parse_create_bucket",
    "parse_create_multipart_upload",
    "parse_delete_bucket",
    "parse_delete_bucket_cors",
    "parse_delete_bucket_encryption",
    "parse_delete_bucket_lifecycle",
    "parse_delete_bucket_ownership_controls",
    "parse_delete_bucket_policy",
    "parse_delete_bucket_tagging",
    "parse_delete_object",
    "parse_delete_object_tagging",
    "parse_delete_objects",
    "parse_delete_public_access_block",
    "parse_get_bucket_acl",
    "parse_get_bucket_cors",
    "parse_get_bucket_encryption",
    "parse_get_bucket_lifecycle_configuration",
    "parse_get_bucket_location",
    "parse_get_bucket_logging",
    "parse_get_bucket_notification_configuration",
    "parse_get_bucket_ownership_controls",
    "parse_get_bucket_policy",
    "parse_get_bucket_policy_status",
    "parse_get_bucket_tagging",
    "parse_get_bucket_versioning",
    "parse_get_object",
    "parse_get_object_acl",
    "parse_get_object_attributes",
    "parse_get_object_legal_hold",
    "parse_get_object_lock_configuration",
    "parse_get_object_retention",
    "parse_get_object_tagging",
    "parse_get_public_access_block",
    "parse_head_bucket",
    "parse_head_object",
    "parse_list_buckets",
    "parse_list_multipart_uploads",
    "parse_list_object_versions",
    "parse_list_objects",
    "parse_list_objects_v2",
    "parse_list_parts",
    "parse_post_object",
    "parse_put_bucket_acl",
    "parse_put_bucket_cors",
    "parse_put_bucket_encryption",
    "parse_put_bucket_lifecycle_configuration",
    "parse_put_bucket_logging",
    "parse_put_bucket_notification_configuration",
    "parse_put_bucket_ownership_controls",
    "parse_put_bucket_policy",
    "parse_put_bucket_tagging",
    "parse_put_bucket_versioning",
    "parse_put_object",
    "parse_put_object_acl",
    "parse_put_object_legal_hold",
    "parse_put_object_lock_configuration",
    "parse_put_object_retention",
    "parse_put_object_tagging",
    "parse_put_public_access_block",
    "parse_upload_part",
    "parse_upload_part_copy",
    "response_overrides",
]
