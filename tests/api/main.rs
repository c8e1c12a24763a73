//! The API as a client sees it, in process: each test owns a database and a Redis prefix.

mod access;
mod account_mail;
mod audit;
mod connections;
mod csrf;
mod documents;
mod health;
mod jobs;
mod jwt;
mod keys;
mod limits;
mod lists;
mod login;
mod mail_tokens;
mod pages;
mod password;
mod problems;
mod refresh;
mod register;
mod sessions;
mod support;
mod throttle;
mod users;
