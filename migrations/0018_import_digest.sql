-- What an import was made of, so that its key is not taken for another file. Imports of before have none.
alter table imports add column content_digest bytea;
alter table imports add constraint imports_content_digest_is_sha256 check (octet_length(content_digest) = 32) not valid;
alter table imports validate constraint imports_content_digest_is_sha256;
