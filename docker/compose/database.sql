-- Run once, by the image of PostgreSQL, in a database that is empty. The user has no password: its certificate signs it in.
CREATE ROLE sealgate LOGIN;
CREATE DATABASE sealgate OWNER sealgate ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE sealgate FROM PUBLIC;
