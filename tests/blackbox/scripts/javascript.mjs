// Drives the AWS SDK for JavaScript v3 with lib-storage; see tests/blackbox/test_javascript.py.
// The function is named on the command line; its arguments come as JSON by standard input, its result leaves as JSON.

import { strict as assert } from "node:assert";
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import path from "node:path";
import { Readable } from "node:stream";
import { text } from "node:stream/consumers";

// The packages do not lie beside this file but where NODE_PATH says, and only require looks there.
const need = createRequire(import.meta.url);
const sdk = need("@aws-sdk/client-s3");
const { Upload } = need("@aws-sdk/lib-storage");

const client = new sdk.S3Client({
  endpoint: process.env.AWS_ENDPOINT_URL,
  region: process.env.AWS_REGION,
  forcePathStyle: true,
  maxAttempts: 1,
});
const send = (name, input) => client.send(new sdk[`${name}Command`](input));
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");
const bytesOf = async (answer) => Buffer.from(await answer.Body.transformToByteArray());

async function listed(Bucket) {
  const found = {};
  for await (const page of sdk.paginateListObjectsV2({ client, pageSize: 3 }, { Bucket })) {
    for (const entry of page.Contents ?? []) found[entry.Key] = { size: entry.Size, etag: entry.ETag };
  }
  return found;
}

const functions = {
  // Make a bucket, see it, delete it, and learn that it is gone.
  async buckets({ name }) {
    await send("CreateBucket", { Bucket: name });
    const { Buckets } = await send("ListBuckets", {});
    await send("DeleteBucket", { Bucket: name });
    const gone = await send("HeadBucket", { Bucket: name }).catch((error) => error.name);
    return [Buckets.some((bucket) => bucket.Name === name), gone];
  },

  // Put every file of `sent` with the checksum named, and get it back with the checksum verified.
  async files({ bucket, names, algorithm }) {
    const told = {};
    for (const name of names) {
      const put = await send("PutObject", {
        Bucket: bucket,
        Key: name,
        Body: await readFile(path.join("sent", name)),
        ContentType: "text/x-odd",
        Metadata: { colour: "blue" },
        ...(algorithm && { ChecksumAlgorithm: algorithm }),
      });
      const got = await send("GetObject", { Bucket: bucket, Key: name, ChecksumMode: "ENABLED" });
      const sum = Object.keys(got).filter((field) => /^Checksum(?!Type)/.test(field) && got[field] !== undefined);
      told[name] = { put: put.ETag, get: got.ETag, type: got.ContentType, colour: got.Metadata.colour, sum };
      told[name].digest = sha256(await bytesOf(got));
    }
    for (const [name, entry] of Object.entries(await listed(bucket))) Object.assign(told[name], entry);
    return told;
  },

  // Upload a stream of unknown length in parts; read spans and the whole.
  async streams({ bucket }) {
    const content = await readFile("sent");
    const upload = new Upload({
      client,
      params: { Bucket: bucket, Key: "stream +%", Body: createReadStream("sent") },
      partSize: 5 * 1024 * 1024,
      queueSize: 3,
    });
    const { ETag } = await upload.done();
    const span = async (Range) => bytesOf(await send("GetObject", { Bucket: bucket, Key: "stream +%", Range }));
    assert.deepEqual(await span("bytes=5242878-5242881"), content.subarray(5242878, 5242882));
    assert.deepEqual(await span("bytes=-9"), content.subarray(content.length - 9));
    const { ContentLength } = await send("HeadObject", { Bucket: bucket, Key: "stream +%" });
    const whole = await send("GetObject", { Bucket: bucket, Key: "stream +%" });
    return { etag: ETag, size: ContentLength, whole: sha256(await bytesOf(whole)) };
  },

  // Let the source of an upload fail on the way; lib-storage takes back what it has sent.
  async failed({ bucket }) {
    async function* source() {
      yield* createReadStream("sent");
      const { Uploads } = await send("ListMultipartUploads", { Bucket: bucket });
      throw new Error(`failed with ${Uploads.length} in flight`);
    }
    const params = { Bucket: bucket, Key: "failed", Body: Readable.from(source()) };
    const upload = new Upload({ client, params, partSize: 5 * 1024 * 1024, queueSize: 1 });
    const error = await upload.done().catch((failure) => failure.message);
    const { Uploads } = await send("ListMultipartUploads", { Bucket: bucket });
    return { error, uploads: (Uploads ?? []).length, keys: Object.keys(await listed(bucket)) };
  },

  // Copy, delete many, and ask for what is not there.
  async names({ bucket }) {
    const CopySource = `${bucket}/${encodeURIComponent("a/one +%")}`;
    const { CopyObjectResult } = await send("CopyObject", { Bucket: bucket, Key: "copied +%", CopySource });
    const told = { copied: CopyObjectResult.ETag };
    const page = await send("ListObjectsV2", { Bucket: bucket, Delimiter: "/" });
    told.folders = page.CommonPrefixes.map((entry) => entry.Prefix);
    const Objects = ["a/one +%", "a/two&<three>", "not there"].map((Key) => ({ Key }));
    const deleted = await send("DeleteObjects", { Bucket: bucket, Delete: { Objects } });
    told.deleted = deleted.Deleted.map((entry) => entry.Key);
    told.left = Object.keys(await listed(bucket));
    told.missing = await send("GetObject", { Bucket: bucket, Key: "a/one +%" }).catch((error) => error.name);
    return told;
  },

  // Write only where nothing is, and read only what has changed.
  async conditions({ bucket }) {
    const at = { Bucket: bucket, Key: "it" };
    const { ETag } = await send("PutObject", { ...at, Body: "first", IfNoneMatch: "*" });
    const refused = await send("PutObject", { ...at, Body: "second", IfNoneMatch: "*" }).catch((error) => error.name);
    const same = await send("GetObject", { ...at, IfNoneMatch: ETag }).catch((error) => error.$metadata.httpStatusCode);
    const got = await send("GetObject", { ...at, IfMatch: ETag });
    return [refused, same, await got.Body.transformToString()];
  },

  // Keep versions, hide the last one, read the one before, and bring the object back.
  async versions({ bucket }) {
    const at = { Bucket: bucket, Key: "it +%" };
    await send("PutBucketVersioning", { Bucket: bucket, VersioningConfiguration: { Status: "Enabled" } });
    const { Status } = await send("GetBucketVersioning", { Bucket: bucket });
    const { VersionId: first } = await send("PutObject", { ...at, Body: "first" });
    const { VersionId: second } = await send("PutObject", { ...at, Body: "second" });
    const hidden = await send("DeleteObject", at);
    const gone = await send("GetObject", at).catch((error) => error.name);
    const old = await send("GetObject", { ...at, VersionId: first });
    const { Versions, DeleteMarkers } = await send("ListObjectVersions", { Bucket: bucket });
    assert.deepEqual(Versions.map((entry) => entry.VersionId), [second, first]);
    assert.deepEqual(DeleteMarkers.map((entry) => entry.VersionId), [hidden.VersionId]);
    await send("DeleteObject", { ...at, VersionId: hidden.VersionId });
    const back = await send("GetObject", at);
    const texts = [await old.Body.transformToString(), await back.Body.transformToString()];
    return [Status, hidden.DeleteMarker, gone, ...texts];
  },

  // Tag an object by header and by document, and a bucket.
  async tags({ bucket }) {
    const at = { Bucket: bucket, Key: "tagged" };
    await send("PutObject", { ...at, Body: "x", Tagging: "colour=light%20blue&empty=" });
    const byHeader = (await send("GetObjectTagging", at)).TagSet;
    const { TagCount, Body } = await send("GetObject", at);
    await Body.transformToByteArray(); // a body that nobody reads holds the connection, and Node.js with it
    await send("PutObjectTagging", { ...at, Tagging: { TagSet: [{ Key: "a+b=c:d/e@f", Value: "v" }] } });
    const byDocument = (await send("GetObjectTagging", at)).TagSet;
    await send("DeleteObjectTagging", at);
    const none = (await send("GetObjectTagging", at)).TagSet;
    await send("PutBucketTagging", { Bucket: bucket, Tagging: { TagSet: [{ Key: "team", Value: "a" }] } });
    const ofBucket = (await send("GetBucketTagging", { Bucket: bucket })).TagSet;
    return { byHeader, count: TagCount, byDocument, none, ofBucket };
  },

  // Put under the KMS's default key, and under a key of the client's own, which every read must bring.
  async encryption({ bucket }) {
    const kms = await send("PutObject", { Bucket: bucket, Key: "kms", Body: "kms", ServerSideEncryption: "aws:kms" });
    const at = { Bucket: bucket, Key: "own" };
    const key = (byte) => ({ SSECustomerAlgorithm: "AES256", SSECustomerKey: Buffer.alloc(32, byte) });
    await send("PutObject", { ...at, ...key(7), Body: "own" });
    const got = await send("GetObject", { ...at, ...key(7) });
    const status = (input) => send("GetObject", input).catch((error) => error.$metadata.httpStatusCode);
    const refused = [await status({ ...at, ...key(8) }), await status(at)];
    const read = await (await send("GetObject", { Bucket: bucket, Key: "kms" })).Body.transformToString();
    return [kms.ServerSideEncryption, read, await got.Body.transformToString(), ...refused];
  },
};

const result = await functions[process.argv[2]](JSON.parse(await text(process.stdin)));
process.stdout.write(JSON.stringify(result));
